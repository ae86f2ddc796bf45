"""Code that both programs share: errors, progress, digests, pages and the engine of the rules.

It imports nothing else of this project.
"""
