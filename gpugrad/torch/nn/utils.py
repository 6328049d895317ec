"""torch.nn.utils."""

from ...nn.vector import parameters_to_vector as parameters_to_vector, vector_to_parameters as vector_to_parameters
from ...optim.clip import clip_grad_norm_ as clip_grad_norm_, clip_grad_value_ as clip_grad_value_
