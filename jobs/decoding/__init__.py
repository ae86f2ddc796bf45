"""Decodes images in other processes, so that an image cannot end the job, however it is made.

The job starts one server (`server.py`), which loads Pillow and NumPy once and forks a child (`child.py`) for each
compute thread. `decoders.py` is the job's end of it.
"""
