"""The flags of `predict.py IMAGE` that give the pose of an image, or say where it comes from."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass

from geopose.cli import UserError
from geopose.ranges import lies_in

POSE_SOURCES = ("auto", "rpc", "stac", "imd", "network")
DIRECTIONS = {"angle_deg": "[-360, 360]", "satellite_azimuth_deg": "[-360, 360]"}
STRENGTHS = {"scale": "[0, inf)", "off_nadir_deg": "[0, 90)", "incidence_deg": "[0, 90)"}
POSE_FLAGS = ("pose_from", *DIRECTIONS, *STRENGTHS)


@dataclass(frozen=True)
class PoseOptions:
    """Where a scene's pose comes from, see POSE_SOURCES, or the pose itself: a direction and a strength, in degrees.

    Of angle_deg and satellite_azimuth_deg at most one is given, and one of the other three with it.
    """

    source: str = "auto"
    angle_deg: float | None = None
    satellite_azimuth_deg: float | None = None
    scale_px_per_m: float | None = None
    off_nadir_deg: float | None = None
    incidence_deg: float | None = None

    @property
    def is_given(self) -> bool:
        """Whether the pose itself is given."""
        return self.angle_deg is not None or self.satellite_azimuth_deg is not None


AUTO = PoseOptions()


def add_pose_flags(parser: ArgumentParser) -> None:
    """Add the flags of POSE_FLAGS to the arguments of a command."""
    pose = parser.add_argument_group("pose of IMAGE, where you know it")
    pose.add_argument(
        "--pose-from",
        default="auto",
        metavar="SOURCE",
        help=f"{', '.join(POSE_SOURCES)}: auto takes the first of them that the image has",
    )
    pose.add_argument("--angle-deg", type=float, metavar="DEG", help="direction from roof to ground, 0 down, 90 right")
    pose.add_argument(
        "--satellite-azimuth-deg",
        type=float,
        metavar="DEG",
        help="instead of --angle-deg: direction of the satellite seen from the ground, clockwise from north",
    )
    pose.add_argument("--scale", type=float, metavar="PX_PER_M", help="pixels of lean per metre of height")
    pose.add_argument("--off-nadir-deg", type=float, metavar="DEG", help="instead of --scale: angle at the satellite")
    pose.add_argument(
        "--incidence-deg",
        type=float,
        metavar="DEG",
        help="instead of --scale: angle at the ground, 90 minus the satellite's elevation",
    )


def read_pose_options(args: Namespace) -> PoseOptions:
    """What the flags say. Raises UserError for values out of range, and for flags that do not belong together."""
    if args.pose_from not in POSE_SOURCES:
        raise UserError(f"--pose-from {args.pose_from} is unknown; there are {', '.join(POSE_SOURCES)}")
    values = {name: getattr(args, name) for name in (*DIRECTIONS, *STRENGTHS) if getattr(args, name) is not None}
    for name, value in values.items():
        interval = {**DIRECTIONS, **STRENGTHS}[name]
        if not lies_in(value, interval):
            raise UserError(f"{_flag(name)} {value:g}: give a number in {interval}")
    for names, meaning in ((DIRECTIONS, "direction"), (STRENGTHS, "strength")):
        given = [_flag(name) for name in names if name in values]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)} both give the lean's {meaning}; leave one out")
        if values and not given:
            raise UserError(f"{_flag(*values)} is half a pose; give {' or '.join(map(_flag, names))} too")
    if not values:
        return PoseOptions(args.pose_from)
    if args.pose_from != "auto":
        raise UserError(f"--pose-from {args.pose_from} and {_flag(next(iter(values)))}: leave one out")
    if len(args.images) != 1:
        images = f"{len(args.images)} images" if args.images else "--images-from"
        raise UserError(
            f"{_flag(next(iter(values)))} with {images}: every image has its own pose; "
            "give one image, or leave the flag out"
        )
    scale = values.pop("scale", None)
    return PoseOptions(**values, scale_px_per_m=scale)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
