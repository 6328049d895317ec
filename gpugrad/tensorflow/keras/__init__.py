"""tf.keras: layers, losses, optimizers, Sequential and Model."""

from . import activations as activations, layers as layers, losses as losses, optimizers as optimizers
from .models import Model as Model, Sequential as Sequential
