"""Floor 7: sources of data, and batches of them."""

from .dataset import Dataset as Dataset, IterableDataset as IterableDataset, Queue as Queue, detached as detached
from .fetch import default_collate as default_collate, rng as rng
from .files import csv as csv, npy as npy, parquet as parquet
from .loader import DataLoader as DataLoader
from .rows import (
    ArrayDataset as ArrayDataset,
    ConcatDataset as ConcatDataset,
    Subset as Subset,
    TensorDataset as TensorDataset,
    random_split as random_split,
)
from .samplers import (
    RandomSampler as RandomSampler,
    SequentialSampler as SequentialSampler,
    SubsetRandomSampler as SubsetRandomSampler,
    WeightedRandomSampler as WeightedRandomSampler,
)
from .wrong import WorkerError as WorkerError
