"""Reads the pixels of one encoded image. `detector.runtime.images` is its only door.

readers.py      which decoder reads which format, and what to do where one is missing
repairs.py      gives a decoder only the bytes that decide the pixels, and adds a missing end
depth.py        turns samples of any depth into 8 bits, or refuses those whose meaning is not stated
"""
