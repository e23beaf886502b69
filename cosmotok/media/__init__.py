"""Images and videos to frames and back: the only code that touches media files (Pillow, PyAV); no torch."""

from .formats import OUTPUT_SUFFIXES
from .image_writer import write_image
from .info import Frame, MediaInfo, parse_frames, parse_size
from .names import IMAGE_SUFFIXES, VIDEO_SUFFIXES, find_media, is_image_path, is_video_path, media_files
from .reader import MediaReader, open_media
from .writer import VideoWriter

__all__ = [
    "IMAGE_SUFFIXES",
    "OUTPUT_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Frame",
    "MediaInfo",
    "MediaReader",
    "VideoWriter",
    "find_media",
    "is_image_path",
    "is_video_path",
    "media_files",
    "open_media",
    "parse_frames",
    "parse_size",
    "write_image",
]
