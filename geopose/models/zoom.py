"""Running a network at a resolution other than the image's own: a fixed input zoom, or views at several sizes."""

from torch.nn import functional as F


def forward_zoomed(model, image, gsd_m, city: list[str], zoom: float) -> dict:
    """Outputs of a PoseModel for the image enlarged by zoom, resized back to the image's own frame.

    image [B,3,H,W], gsd_m [B], city: B names. By the law of zoom the network gets gsd / zoom, and its magnitudes are
    divided by zoom. Heights and direction do not change. Returns the same keys as PoseModel.forward.
    """
    height, width = image.shape[-2:]
    size = (max(1, round(height * zoom)), max(1, round(width * zoom)))
    if size == (height, width):
        return model(image, gsd_m, city)
    enlarged = F.interpolate(image.float(), size=size, mode="bilinear", align_corners=False, antialias=zoom < 1)
    outputs = model(enlarged, gsd_m / zoom, city, native_gsd_m=gsd_m)
    agl_m, mag_px = (
        F.interpolate(outputs[key].float(), size=(height, width), mode="bilinear", align_corners=False)
        for key in ("agl_m", "mag_px")
    )
    return outputs | {"agl_m": agl_m, "mag_px": mag_px / zoom}
