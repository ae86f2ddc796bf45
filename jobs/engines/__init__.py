"""Where parts are made: by this process, by processes of this machine, or on a Ray cluster."""
