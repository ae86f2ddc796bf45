"""What the job and the server of children ask and answer."""

from __future__ import annotations

import struct

# What the job asks. Child 0: to start one, whose socket comes with the request. Another: to end this one, which may
# take some seconds to end by itself.
REQUEST = struct.Struct(">qd")
# The process that was started, or minus errno; or how a child ended, as subprocess.Popen.returncode has it, and the
# CPU seconds of its whole life.
ANSWER = struct.Struct(">qd")

# How a child ended that did not end by itself.
STOPPED = 0
# The exit code of a child whose image needs more memory than it may have.
OUT_OF_MEMORY = 12
