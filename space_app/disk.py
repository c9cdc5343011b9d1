"""Files of visitors on the disk: a folder of the app's own, bounded in bytes, in files and in age."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from tempfile import mkdtemp

MAX_BYTES = 512 * 2**20
"""Bytes of all uploads and results together."""
MAX_FILES = 5000
"""Uploads and results together."""
DELETE_CACHE_S = (600, 3600)
"""gradio looks every 600 s for uploads and results older than 3600 s, and deletes them."""
LEFTOVER_S = 4200
"""Age at which files are deleted that gradio does not know, such as those of interrupted uploads."""
PARTIAL_S = 330
"""Age at which files are deleted that gradio writes before it knows their names; an upload takes less time."""
YOUNG_S = 30
"""Younger files are never deleted, because somebody may be reading or writing them."""
LOOK_S = 5
"""Seconds between two looks at the folder."""


class Disk:
    """A folder of its own, which gradio uses for everything that visitors send and get.

    Args:
        folder: An empty folder. Default: a new one, in the folder that GRADIO_TEMP_DIR names or in the system's
            folder for temporary files, and gradio is told to use it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:
            parent = os.environ.get("GRADIO_TEMP_DIR")
            if parent:
                Path(parent).mkdir(parents=True, exist_ok=True)
            folder = Path(mkdtemp(prefix="echoform-space-", dir=parent or None)).resolve()
            os.environ["GRADIO_TEMP_DIR"] = str(folder)
        self.folder = folder
        self._kept: set[str] = set()
        self._lock = threading.Lock()

    def keep_present_files(self) -> None:
        """Never delete what is there now: the examples of the page."""
        self._kept = {path for path, _ in self._files()}

    def make_room(self, wanted_bytes: int = 0) -> bool:
        """Delete leftovers, and the oldest files where bytes or files exceed their limits.

        Args:
            wanted_bytes: Bytes that will be written next.

        Returns:
            Whether the bytes fit now; they do not if too many files are younger than YOUNG_S.
        """
        with self._lock:
            now = time.time()
            found = [(path, stat) for path, stat in self._files() if path not in self._kept]
            found.sort(key=lambda one: one[1].st_mtime)
            size, count = wanted_bytes + sum(stat.st_size for _, stat in found), len(found)
            for path, stat in found:  # the oldest first
                is_partial = Path(path).parent == self.folder
                is_over = size > MAX_BYTES or count > MAX_FILES
                limit_s = YOUNG_S if is_over else PARTIAL_S if is_partial else LEFTOVER_S
                if now - stat.st_mtime < limit_s:
                    continue
                Path(path).unlink(missing_ok=True)
                size, count = size - stat.st_size, count - 1
            self._remove_empty_folders(now)
            return size <= MAX_BYTES and count <= MAX_FILES

    def guard(self) -> None:
        """Start a thread that makes room every LOOK_S seconds, since results are written without asking."""

        def look() -> None:
            while self.folder.is_dir():
                self.make_room()
                time.sleep(LOOK_S)

        threading.Thread(target=look, name="disk", daemon=True).start()

    def remove(self) -> None:
        """Delete the folder with everything in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[tuple[str, os.stat_result]]:
        found = []
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = f"{folder}{os.sep}{name}"
                try:
                    found.append((path, Path(path).lstat()))
                except FileNotFoundError:  # gradio moved or deleted it meanwhile
                    continue
        return found

    def _remove_empty_folders(self, now: float) -> None:
        for folder, _, _ in os.walk(self.folder, topdown=False):
            path = Path(folder)
            try:
                if path != self.folder and now - path.stat().st_mtime > YOUNG_S:
                    path.rmdir()
            except OSError:  # it holds files, or is gone
                continue
