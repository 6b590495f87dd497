"""What is typical of each city: its districts, colours, trees, streets and light.

To add a city, add it to CITIES and to NADIR_GSD_M of dataset.py. To change how often a kind of block appears in a
district, change DISTRICTS; layout.py names the function that fills each kind.
"""

from dataclasses import dataclass

import numpy as np

# Colours of flat sunlit surfaces, 0-255, as unsaturated as in satellite images.
SHINGLE_DARK = [(86, 80, 80), (72, 68, 70), (98, 90, 86), (84, 72, 66), (104, 84, 76), (64, 62, 66), (92, 92, 98)]
SHINGLE_BROWN = [(122, 98, 84), (134, 108, 90), (112, 88, 76), (146, 118, 98), (126, 92, 82), (104, 82, 74)]
SHINGLE_GREY = [(128, 126, 126), (146, 144, 144), (118, 120, 124), (158, 154, 150), (136, 132, 126), (112, 110, 112)]
SHINGLE_PALE = [(186, 184, 182), (208, 208, 208), (196, 188, 178), (222, 222, 224)]
TILE_RED = [(168, 116, 94), (182, 132, 108), (154, 102, 84), (190, 146, 122)]
FLAT_BRIGHT = [(255, 255, 255), (242, 244, 246), (228, 230, 232), (236, 232, 224), (250, 250, 248)]
FLAT_PALE = [(214, 214, 212), (226, 226, 226), (206, 204, 200), (220, 216, 208)]
FLAT_GREY = [(150, 150, 150), (172, 172, 172), (132, 130, 128), (190, 188, 184), (118, 118, 120), (204, 202, 200)]
FLAT_DARK = [(86, 84, 82), (70, 68, 66), (98, 88, 78), (106, 100, 94), (60, 60, 64), (92, 76, 66)]
METAL = [(190, 194, 198), (168, 172, 176), (214, 216, 218), (150, 156, 160), (140, 150, 160), (178, 168, 150)]
METAL_COLOURED = [(118, 138, 128), (150, 108, 96), (112, 128, 148), (160, 150, 120)]
PAVING = [(182, 178, 172), (166, 162, 156), (198, 194, 186), (150, 146, 140)]
ASPHALT = [(108, 108, 108), (96, 97, 97), (123, 122, 120), (84, 85, 87), (134, 133, 130)]
BRICK = [(168, 138, 130), (156, 122, 112), (176, 150, 140)]
WALLS = [(170, 162, 150), (150, 142, 134), (190, 184, 174), (140, 116, 102), (206, 204, 200), (120, 112, 106),
         (196, 194, 190), (222, 220, 214)]  # fmt: skip
CARS = [(235, 235, 235), (245, 245, 245), (190, 192, 195), (140, 142, 146), (60, 60, 64), (40, 40, 44), (110, 112, 118)]
CARS_COLOURED = [(150, 50, 50), (60, 74, 120), (110, 44, 44), (150, 140, 120), (50, 80, 70)]


@dataclass(frozen=True)
class City:
    """One city's parameters. Ranges are (smallest, largest). All entries of a list are equally likely."""

    name: str
    districts: dict[str, float]  # weights of the kinds of district, see DISTRICTS
    house_roofs: list
    flat_roofs: list
    lawns: list
    soils: list
    water: tuple
    evergreens: list
    deciduous: list
    evergreen_share: float
    tree_density: float
    lot_width_m: tuple[float, float]
    two_storey_share: float  # of houses
    tower_factor: float  # for the heights of towers, and in part of offices
    bend_m: float  # how strongly streets bend
    grid_turn: float  # 0: streets run north-south and east-west; 1: any direction
    sun_zenith_deg: tuple[float, float]
    leaf: tuple[float, float]  # leaf and dryness as in appearance.Season
    dryness: tuple[float, float]


# Weights of the kinds of block in each kind of district.
DISTRICTS = {
    "suburb": {"houses": 10, "woods": 1.0, "park": 0.7, "school": 0.5, "apartments": 0.7},
    "dense_suburb": {"houses": 8, "apartments": 2, "commercial": 1, "school": 1, "park": 0.6},
    "commercial": {
        "commercial": 6,
        "houses": 3,
        "car_park": 0.7,
        "apartments": 2,
        "woods": 1,
        "office": 2,
        "field": 0.4,
    },
    "industrial": {"industrial": 8, "commercial": 1.5, "field": 0.7, "woods": 0.8, "car_park": 0.4},
    "downtown": {"downtown": 9, "car_park": 0.8, "office": 2, "plaza": 0.5, "park": 0.5},
    "midtown": {"office": 4, "downtown": 1.5, "apartments": 3, "houses": 2, "car_park": 0.7, "school": 1, "plaza": 0.2},
    "rural": {"woods": 4, "field": 2.5, "houses": 4, "park": 0.4, "industrial": 0.6},
}

CITIES = {
    city.name: city
    for city in (
        City(
            name="ARG",
            districts={
                "dense_suburb": 3.5,
                "suburb": 2,
                "commercial": 2,
                "industrial": 2,
                "rural": 1.5,
                "midtown": 1.5,
                "downtown": 1.5,
            },
            house_roofs=[FLAT_GREY, FLAT_DARK, TILE_RED, SHINGLE_PALE, METAL],
            flat_roofs=[FLAT_GREY, FLAT_GREY, FLAT_DARK, FLAT_BRIGHT, FLAT_PALE],
            lawns=[(101, 98, 89), (113, 105, 95), (93, 94, 83)],
            soils=[(144, 134, 121), (158, 148, 135), (130, 120, 108)],
            water=(44, 48, 46),
            evergreens=[(80, 82, 79), (71, 73, 71), (94, 94, 90)],
            deciduous=[(98, 101, 95), (108, 106, 101), (89, 91, 86)],
            evergreen_share=0.5,
            tree_density=0.6,
            lot_width_m=(10.0, 15.0),
            two_storey_share=0.35,
            tower_factor=0.6,
            bend_m=1.5,
            grid_turn=0.7,
            sun_zenith_deg=(22.0, 54.0),
            leaf=(0.2, 1.0),
            dryness=(0.0, 0.8),
        ),
        City(
            name="ATL",
            districts={
                "suburb": 3.5,
                "dense_suburb": 1,
                "commercial": 2.5,
                "midtown": 2.5,
                "downtown": 4,
                "industrial": 1,
            },
            house_roofs=[SHINGLE_DARK, SHINGLE_BROWN, SHINGLE_GREY],
            flat_roofs=[FLAT_BRIGHT, FLAT_PALE, FLAT_GREY, FLAT_GREY, FLAT_DARK],
            lawns=[(97, 99, 88), (107, 104, 93), (89, 95, 83)],
            soils=[(144, 126, 113), (155, 138, 125), (129, 113, 102)],
            water=(40, 46, 42),
            evergreens=[(73, 77, 74), (66, 68, 66), (83, 86, 82)],
            deciduous=[(90, 97, 91), (99, 105, 99), (83, 88, 83)],
            evergreen_share=0.4,
            tree_density=1.3,
            lot_width_m=(18.0, 28.0),
            two_storey_share=0.6,
            tower_factor=1.3,
            bend_m=10.0,
            grid_turn=1.0,
            sun_zenith_deg=(20.0, 52.0),
            leaf=(0.0, 1.0),
            dryness=(0.0, 0.6),
        ),
        City(
            name="JAX",
            districts={
                "suburb": 4.5,
                "dense_suburb": 2,
                "commercial": 2,
                "industrial": 1,
                "midtown": 1.2,
                "downtown": 2.5,
                "rural": 0.8,
            },
            house_roofs=[SHINGLE_DARK, SHINGLE_BROWN, SHINGLE_GREY, SHINGLE_GREY, SHINGLE_PALE],
            flat_roofs=[FLAT_BRIGHT, FLAT_BRIGHT, FLAT_PALE, FLAT_GREY, FLAT_DARK],
            lawns=[(97, 96, 88), (109, 101, 94), (88, 93, 83), (115, 106, 99)],
            soils=[(131, 119, 109), (145, 134, 123), (117, 106, 97)],
            water=(20, 28, 34),
            evergreens=[(76, 78, 76), (66, 68, 67), (87, 89, 86)],
            deciduous=[(98, 99, 94), (106, 104, 100), (91, 90, 86)],
            evergreen_share=0.55,
            tree_density=1.0,
            lot_width_m=(15.0, 22.0),
            two_storey_share=0.15,
            tower_factor=0.9,
            bend_m=6.0,
            grid_turn=0.25,
            sun_zenith_deg=(18.0, 50.0),
            leaf=(0.0, 0.9),
            dryness=(0.1, 0.8),
        ),
        City(
            name="OMA",
            districts={
                "suburb": 4.5,
                "dense_suburb": 3,
                "commercial": 2.5,
                "industrial": 1.5,
                "midtown": 1.2,
                "downtown": 1.5,
                "rural": 1.2,
            },
            house_roofs=[SHINGLE_GREY, SHINGLE_DARK, SHINGLE_BROWN, SHINGLE_GREY],
            flat_roofs=[FLAT_BRIGHT, FLAT_PALE, FLAT_GREY, FLAT_GREY],
            lawns=[(109, 104, 94), (121, 111, 103), (100, 99, 88)],
            soils=[(138, 128, 115), (122, 112, 101), (154, 143, 129)],
            water=(50, 52, 48),
            evergreens=[(73, 75, 73), (80, 82, 80)],
            deciduous=[(103, 101, 96), (112, 109, 104), (96, 94, 90)],
            evergreen_share=0.15,
            tree_density=0.75,
            lot_width_m=(16.0, 24.0),
            two_storey_share=0.4,
            tower_factor=0.7,
            bend_m=8.0,
            grid_turn=0.15,
            sun_zenith_deg=(22.0, 58.0),
            leaf=(0.0, 1.0),
            dryness=(0.1, 1.0),
        ),
    )
}


def pick(rng: np.random.Generator, choices: list):
    """A random entry of a list; all are equally likely."""
    return choices[int(rng.integers(len(choices)))]


def pick_weighted(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """A random key; the values are the weights."""
    names = list(weights)
    values = np.array([weights[name] for name in names], dtype=np.float64)
    return names[int(rng.choice(len(names), p=values / values.sum()))]


def deal(weights: dict[str, float], count: int) -> list[str]:
    """A list of `count` keys in mixed order. Each key appears as often as its weight says, rounded to whole numbers.

    The result depends on weights and count only.
    """
    edges = np.cumsum(list(weights.values())) / sum(weights.values())
    keys = [list(weights)[int(np.searchsorted(edges, (index + 0.5) / count))] for index in range(count)]
    return [keys[index] for index in np.random.default_rng(count).permutation(count)]


def district_weights(city: City, downtown_share: float | None) -> dict[str, float]:
    """Weights of the city's districts, whose sum is 1 if a share of downtown is given.

    Cities have few towers, so tiles of a city's own mix teach little about them.
    """
    if downtown_share is None:
        return city.districts
    elsewhere = sum(city.districts.values()) - city.districts["downtown"]
    return {
        name: downtown_share if name == "downtown" else weight / elsewhere * (1.0 - downtown_share)
        for name, weight in city.districts.items()
    }


def vary(rng: np.random.Generator, colour: tuple, spread: float = 0.10) -> tuple:
    """A random variation of a colour: slightly brighter or darker, warmer or colder."""
    gain = 1.0 + spread * rng.standard_normal()
    warm = 0.25 * spread * rng.standard_normal()
    return (colour[0] * (gain + warm), colour[1] * gain, colour[2] * (gain - warm))
