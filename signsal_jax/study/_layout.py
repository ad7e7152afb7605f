"""How the images of a study are cut into chunks and groups."""

from typing import NamedTuple


class Layout(NamedTuple):
    """How the images of a study are cut: `chunk` are computed together, `group` chunks stored.

    >>> layout = Layout(images=10, chunk=3, group=2)
    >>> layout.chunks, layout.groups, layout.chunks_of(1), layout.images_of(1)
    (4, 2, range(2, 4), range(6, 10))
    """

    images: int
    chunk: int
    group: int = 1

    @property
    def chunks(self) -> int:
        """The number of chunks of the whole study."""
        return -(-self.images // self.chunk)

    @property
    def groups(self) -> int:
        """The number of groups of the whole study."""
        return -(-self.images // self.group_images)

    @property
    def group_images(self) -> int:
        """The images of a group; the last may have fewer."""
        return self.chunk * self.group

    def rows(self, chunk: int) -> range:
        """The images of a chunk."""
        return range(chunk * self.chunk, min((chunk + 1) * self.chunk, self.images))

    def chunks_of(self, group: int) -> range:
        """The chunks of a group."""
        return range(group * self.group, min((group + 1) * self.group, self.chunks))

    def images_of(self, group: int) -> range:
        """The images of a group."""
        start = group * self.group_images
        return range(start, min(start + self.group_images, self.images))
