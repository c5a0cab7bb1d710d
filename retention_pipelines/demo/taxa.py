"""Taxa of the simulated survey, with the niches that decide where they are caught.

The names are real and live on that coast; the numbers are round values for a simulation, not measurements. Only
what the simulation needs is here; identifiers are left out because none was looked up.
"""

from dataclasses import dataclass

SURFACE, BOTTOM = "surface", "bottom"


@dataclass(frozen=True, kw_only=True)
class Taxon:
    """A taxon and its niche; catches are negative binomial around `abundance` at the best place."""

    name: str
    family: str
    order: str
    phylum: str
    class_: str
    lives: str
    best_degc: float
    degc_width: float
    best_depth_m: float
    depth_width: float  # standard deviation of ln(depth)
    abundance: float
    grams: float
    tolerates_low_oxygen: bool = False


def _fish(
    name: str, family: str, order: str, lives: str, degc: float, width: float, depth: float, spread: float,
    abundance: float, grams: float, *, low_oxygen: bool = False, class_: str = "Teleostei",
) -> Taxon:  # fmt: skip
    return Taxon(
        name=name, family=family, order=order, phylum="Chordata", class_=class_, lives=lives, best_degc=degc,
        degc_width=width, best_depth_m=depth, depth_width=spread, abundance=abundance, grams=grams,
        tolerates_low_oxygen=low_oxygen,
    )  # fmt: skip


def _invertebrate(
    name: str, family: str, order: str, phylum: str, class_: str, lives: str, degc: float, width: float,
    depth: float, spread: float, abundance: float, grams: float,
) -> Taxon:  # fmt: skip
    return Taxon(
        name=name, family=family, order=order, phylum=phylum, class_=class_, lives=lives, best_degc=degc,
        degc_width=width, best_depth_m=depth, depth_width=spread, abundance=abundance, grams=grams,
        tolerates_low_oxygen=True,
    )  # fmt: skip


TAXA = (
    # small pelagics: tropical in the north, temperate in the south
    _fish("Sardinella aurita", "Dorosomatidae", "Clupeiformes", SURFACE, 23.5, 3.0, 50, 0.7, 900, 120),
    _fish("Sardinella maderensis", "Dorosomatidae", "Clupeiformes", SURFACE, 25.5, 2.4, 30, 0.6, 700, 110),
    _fish("Sardinops sagax", "Alosidae", "Clupeiformes", SURFACE, 16.0, 2.2, 60, 0.7, 800, 90),
    _fish("Engraulis capensis", "Engraulidae", "Clupeiformes", SURFACE, 17.0, 2.2, 50, 0.7, 600, 12),
    _fish("Trachurus trecae", "Carangidae", "Carangiformes", SURFACE, 21.0, 3.0, 70, 0.7, 600, 140),
    _fish("Trachurus capensis", "Carangidae", "Carangiformes", SURFACE, 16.5, 2.2, 120, 0.7, 600, 180),
    _fish("Scomber colias", "Scombridae", "Scombriformes", SURFACE, 20.0, 3.0, 80, 0.8, 150, 230),
    _fish("Trichiurus lepturus", "Trichiuridae", "Scombriformes", BOTTOM, 17.5, 4.0, 90, 0.9, 120, 320),
    # demersal fish of the shelf
    _fish("Brachydeuterus auritus", "Haemulidae", "Acanthuriformes", BOTTOM, 22.0, 3.0, 35, 0.6, 700, 60),
    _fish("Pagellus bellottii", "Sparidae", "Acanthuriformes", BOTTOM, 18.5, 3.0, 60, 0.6, 180, 130),
    _fish("Dentex macrophthalmus", "Sparidae", "Acanthuriformes", BOTTOM, 15.0, 2.4, 130, 0.5, 420, 150),
    _fish("Dentex angolensis", "Sparidae", "Acanthuriformes", BOTTOM, 16.5, 2.4, 90, 0.5, 150, 210),
    _fish("Pseudotolithus typus", "Sciaenidae", "Acanthuriformes", BOTTOM, 24.0, 3.0, 25, 0.5, 90, 420),
    _fish("Umbrina canariensis", "Sciaenidae", "Acanthuriformes", BOTTOM, 17.0, 3.0, 80, 0.6, 60, 350),
    _fish("Argyrosomus coronus", "Sciaenidae", "Acanthuriformes", BOTTOM, 18.0, 3.0, 40, 0.6, 12, 3800),
    _fish("Galeoides decadactylus", "Polynemidae", "Carangiformes", BOTTOM, 24.0, 2.8, 22, 0.5, 120, 170),
    _fish("Boops boops", "Sparidae", "Acanthuriformes", BOTTOM, 17.0, 2.5, 80, 0.6, 110, 90),
    _fish("Epinephelus aeneus", "Epinephelidae", "Perciformes", BOTTOM, 20.0, 3.0, 50, 0.6, 4, 2600),
    _fish("Zeus faber", "Zeidae", "Zeiformes", BOTTOM, 14.5, 2.5, 140, 0.6, 12, 900),
    _fish("Ariomma bondi", "Ariommatidae", "Scombriformes", BOTTOM, 15.0, 2.5, 150, 0.5, 160, 80),
    # hakes and other fish of the slope
    _fish("Merluccius polli", "Merlucciidae", "Gadiformes", BOTTOM, 10.5, 2.4, 380, 0.5, 320, 260, low_oxygen=True),
    _fish("Merluccius capensis", "Merlucciidae", "Gadiformes", BOTTOM, 11.5, 1.8, 220, 0.5, 160, 420),
    _fish("Chlorophthalmus atlanticus", "Chlorophthalmidae", "Aulopiformes", BOTTOM, 12.0, 2.4, 260, 0.5, 240, 35,
          low_oxygen=True),
    _fish("Helicolenus dactylopterus", "Sebastidae", "Perciformes", BOTTOM, 10.5, 2.2, 350, 0.5, 60, 160,
          low_oxygen=True),
    # sharks and rays
    _fish("Mustelus mustelus", "Triakidae", "Carcharhiniformes", BOTTOM, 17.0, 3.0, 60, 0.7, 5, 2900,
          class_="Elasmobranchii"),
    _fish("Raja straeleni", "Rajidae", "Rajiformes", BOTTOM, 12.5, 2.5, 220, 0.7, 6, 1500, class_="Elasmobranchii"),
    _fish("Centrophorus granulosus", "Centrophoridae", "Squaliformes", BOTTOM, 8.5, 2.0, 500, 0.4, 4, 5200,
          low_oxygen=True, class_="Elasmobranchii"),
    # invertebrates
    _invertebrate("Parapenaeus longirostris", "Penaeidae", "Decapoda", "Arthropoda", "Malacostraca", BOTTOM,
                  12.5, 2.4, 240, 0.5, 500, 8),
    _invertebrate("Aristeus varidens", "Aristeidae", "Decapoda", "Arthropoda", "Malacostraca", BOTTOM,
                  8.5, 1.8, 520, 0.3, 260, 14),
    _invertebrate("Chaceon maritae", "Geryonidae", "Decapoda", "Arthropoda", "Malacostraca", BOTTOM,
                  8.0, 2.0, 560, 0.4, 40, 480),
    _invertebrate("Sepia officinalis", "Sepiidae", "Sepiida", "Mollusca", "Cephalopoda", BOTTOM,
                  18.0, 3.0, 60, 0.6, 35, 380),
    _invertebrate("Octopus vulgaris", "Octopodidae", "Octopoda", "Mollusca", "Cephalopoda", BOTTOM,
                  18.0, 3.0, 60, 0.7, 15, 1200),
    _invertebrate("Illex coindetii", "Ommastrephidae", "Oegopsida", "Mollusca", "Cephalopoda", BOTTOM,
                  12.5, 2.6, 200, 0.6, 70, 150),
    _invertebrate("Chrysaora fulgida", "Pelagiidae", "Semaeostomeae", "Cnidaria", "Scyphozoa", SURFACE,
                  15.5, 1.8, 70, 0.9, 60, 900),
)  # fmt: skip
