"""What papers report of the same pairs. Their set-ups differ from ours and from each other; see `note`."""

from __future__ import annotations

from collections.abc import Mapping

PAPERS: tuple[Mapping[str, object], ...] = (
    {
        "paper": "Tzeng et al. 2017 (ADDA), https://arxiv.org/abs/1702.05464, table 2",
        "note": "LeNet from scratch, 2,000 MNIST and 1,800 USPS training images; `dann` is their gradient reversal row",
        "mnist -> usps": {"source only": 0.752, "dann": 0.771},
        "usps -> mnist": {"source only": 0.571, "dann": 0.730},
    },
    {
        "paper": "Liang et al. 2020 (SHOT), https://arxiv.org/abs/2002.08546, table 2",
        "note": "LeNet with a batch-norm bottleneck from scratch on the whole training sets (60,000 and 7,291 images)",
        "mnist -> usps": {"source only": 0.822, "shot": 0.979},
        "usps -> mnist": {"source only": 0.696, "shot": 0.980},
    },
    {
        "paper": "Ganin et al. 2016 (DANN), https://arxiv.org/abs/1505.07818, as in table 4 of Wilson and Cook 2020, "
        "https://arxiv.org/abs/1812.02849",
        "note": "one hidden layer on counts of 5,000 unigrams and bigrams, 2,000 labelled reviews of the same data set",
        "books -> electronics": {"dann": 0.733},
        "electronics -> kitchen": {"dann": 0.854},
    },
    {
        "paper": "Sun et al. 2016 (CORAL), https://arxiv.org/abs/1511.05547, as in table 4 of Wilson and Cook 2020, "
        "https://arxiv.org/abs/1812.02849",
        "note": "a linear classifier on counts of the 400 most telling words of the same data set",
        "books -> electronics": {"source only": 0.747, "coral": 0.763},
        "electronics -> kitchen": {"source only": 0.828, "coral": 0.836},
    },
)
