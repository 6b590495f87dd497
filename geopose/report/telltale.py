"""`python -m geopose telltale`: which patches of rendered images give themselves away beside real ones.

A logistic regression learns to tell real from rendered patches by the features of the packaged ImageNet encoder. It is
judged on images that it has not seen. An accuracy of 0.5 means that it cannot tell them apart. The picture shows the
patches that it is most sure of, so that one sees what to improve in the generator.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from geopose.cli import Parser, UserError, progress
from geopose.config import ModelConfig
from geopose.io.rasters import read_rgb
from geopose.models.encoders import Encoder, create_encoder
from geopose.report.panel import check_picture, save

PATCH_PX = 64
FOLDS = 5
REGULARIZATION = 0.01  # scikit-learn's C: small, because there are about as many features as patches
ROWS = 3  # of 16 patches each, per group in the picture
COLUMNS = 16


@dataclass(frozen=True)
class Verdict:
    """How well real and rendered patches can be told apart, and the chance of each patch to be real.

    accuracy: mean of both kinds' shares of right answers; auc: area under the ROC curve; chances float [N], each from
    a regression that has not seen the patch's image.
    """

    accuracy: float
    auc: float
    chances: np.ndarray


def main() -> int:
    parser = Parser(
        "Tell rendered from real images by their patches, and draw the patches that give the renderer away.",
        "python -m geopose telltale --real photos/*.tif --rendered data/synthetic/test/*.tif --out telltale.png",
    )
    parser.add_argument("--real", type=Path, nargs="+", required=True, metavar="IMAGE", help="five images or more")
    parser.add_argument("--rendered", type=Path, nargs="+", required=True, metavar="IMAGE", help="rendered images")
    parser.add_argument("--patches", type=int, default=600, metavar="N", help="patches of each kind")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the patches' positions")
    parser.add_argument("--out", type=Path, default=Path("telltale.png"), metavar="FILE", help="picture to write")
    args = parser.parse_args()
    check_picture(args.out, "--out")
    if args.patches < 1 or args.seed < 0:
        raise UserError(f"--patches {args.patches}, --seed {args.seed}: give 1 patch or more, and a seed of 0 or more")
    if min(len(args.real), len(args.rendered)) < FOLDS:
        raise UserError(f"{len(args.real)} real and {len(args.rendered)} rendered images; give {FOLDS} or more of each")

    rng = np.random.default_rng(args.seed)
    encoder = create_encoder(ModelConfig(encoder_layers=[0, 1, 2, 3, 4])).eval()
    patches, groups, features = [], [], []
    for paths in (args.real, args.rendered):
        for path in progress(paths, "patches", unit="image"):
            found = cut_patches(path, -(-args.patches // len(paths)), rng)
            patches.append(found)
            groups += [len(patches)] * len(found)
            features.append(describe_patches(encoder, found))
    count = sum(len(found) for found in patches[: len(args.real)])
    patches = np.concatenate(patches)
    is_real = np.arange(len(patches)) < count
    verdict = judge(np.concatenate(features), is_real, np.array(groups))
    draw_patches(patches, is_real, verdict, args.out)
    print(f"{count} real and {len(patches) - count} rendered patches of {PATCH_PX} px")
    print(f"told apart on unseen images: accuracy {verdict.accuracy:.3f}, AUC {verdict.auc:.3f}; 0.5 is chance")
    print(args.out)
    return 0


def cut_patches(path: Path, count: int, rng: np.random.Generator) -> np.ndarray:
    """Patches uint8 [count, PATCH_PX, PATCH_PX, 3] at random positions of an image."""
    image = read_rgb(path)
    if min(image.shape[:2]) < PATCH_PX:
        raise UserError(f"{path}: {image.shape[0]}x{image.shape[1]} px; a patch has {PATCH_PX} px, give larger images")
    rows = rng.integers(image.shape[0] - PATCH_PX + 1, size=count)
    columns = rng.integers(image.shape[1] - PATCH_PX + 1, size=count)
    return np.stack([image[y : y + PATCH_PX, x : x + PATCH_PX] for y, x in zip(rows, columns, strict=True)])


@torch.inference_mode()
def describe_patches(encoder: Encoder, patches: np.ndarray) -> np.ndarray:
    """Features float32 [N, C]: mean and standard deviation of every channel of every map of the encoder."""
    maps = encoder(torch.from_numpy(patches).permute(0, 3, 1, 2))
    pooled = [statistic for m in maps for statistic in (m.mean((-2, -1)), m.flatten(2).std(-1))]
    return torch.cat(pooled, dim=1).numpy()


def judge(features: np.ndarray, is_real: np.ndarray, groups: np.ndarray) -> Verdict:
    """Tell real from rendered patches of FOLDS or more images each.

    features [N, C]; is_real bool [N]; groups int [N], the image of each patch.
    """
    regression = make_pipeline(
        StandardScaler(), LogisticRegression(C=REGULARIZATION, class_weight="balanced", max_iter=2000)
    )
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    chances = cross_val_predict(regression, features, is_real, groups=groups, cv=folds, method="predict_proba")[:, 1]
    accuracy = balanced_accuracy_score(is_real, chances > 0.5)
    return Verdict(float(accuracy), float(roc_auc_score(is_real, chances)), chances)


def draw_patches(patches: np.ndarray, is_real: np.ndarray, verdict: Verdict, path: Path) -> None:
    """Draw the real and the rendered patches that the regression recognises best, and the rendered ones it mistakes."""
    order = np.argsort(verdict.chances, kind="stable")
    ours, real = order[~is_real[order]], order[is_real[order]]
    shown = ROWS * COLUMNS
    titles = ("rendered, recognised", "rendered, taken for real", "real, recognised")
    figure, axes = plt.subplots(3, 1, figsize=(COLUMNS * 0.9, 3 * ROWS * 0.97), layout="constrained")
    for ax, title, chosen in zip(axes, titles, (ours[:shown], ours[::-1][:shown], real[::-1][:shown]), strict=True):
        ax.imshow(contact_sheet(patches[chosen]))
        ax.set_title(title)
    save(figure, axes, path)


def contact_sheet(patches: np.ndarray) -> np.ndarray:
    """Patches uint8 [N, S, S, 3] side by side in ROWS rows, uint8 [ROWS * S, COLUMNS * S, 3]. Free places are white."""
    side = patches.shape[1]
    sheet = np.full((ROWS * side, COLUMNS * side, 3), 255, np.uint8)
    for index, patch in enumerate(patches):
        row, column = divmod(index, COLUMNS)
        sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = patch
    return sheet
