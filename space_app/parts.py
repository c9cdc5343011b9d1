"""The parts of an upload, checked while they pass: gradio would keep what is no file in memory."""

from __future__ import annotations

from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from visitors import MAX_FILES

RULE = f"An upload must be a form of at most {MAX_FILES} files, each called files and with a file name."


class Parts:
    """Reads the headers of all parts of a form.

    Args:
        content_type: Header of the request.
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        self.wrong = kind != b"multipart/form-data" or not options.get(b"boundary")
        """Whether anything broke the rule so far."""
        self.count = 0
        self.name = self.value = b""
        self.disposition = b""
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add("name", data[start:end]),
            "on_header_value": lambda data, start, end: self._add("value", data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
        }
        self.parser = None if self.wrong else MultipartParser(options[b"boundary"], callbacks)

    def write(self, data: bytes) -> None:
        """Read the next bytes of the form."""
        if self.parser is None or self.wrong:
            return
        try:
            self.parser.write(data)
        except MultipartParseError:
            self.wrong = True

    def _begin(self) -> None:
        self.count += 1
        self.wrong = self.wrong or self.count > MAX_FILES
        self.disposition = b""

    def _add(self, what: str, data: bytes) -> None:
        setattr(self, what, getattr(self, what) + data)

    def _end_header(self) -> None:
        if self.name.lower() == b"content-disposition":
            self.disposition = self.value
        self.name = self.value = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self.disposition)
        self.wrong = self.wrong or options.get(b"name") != b"files" or b"filename" not in options
