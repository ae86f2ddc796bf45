"""What both programs share: errors, progress, digests, pages, the engine of the rules. Imports nothing of ours."""
