"""A user's weights, from a safetensors file or a saved state dict, into a module. Never runs code from the file."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from deepplan.errors import DocumentError, InvalidInputError, MismatchError

# Buffers and weights that releases of transformers once saved and its models no longer have.
_OBSOLETE = ("position_ids", "attn.bias", "attn.masked_bias", "EncDecAttention.relative_attention_bias.weight")
_OPTIONAL = ("num_batches_tracked", "position_ids", "token_type_ids")  # constants, for which the module's own do
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # BERT's first checkpoints


def load_weights(module: torch.nn.Module, path: str | os.PathLike[str]) -> None:
    """Copies the weights at `path` into `module`, cast to its dtypes: all of them, or none if anything does not fit.

    The names may differ by a common prefix ("bert.", "module."); what lies outside of the file's, as the head of a
    larger model does, is left out. Of a tied weight the file may have any of the names.
    Raises DocumentError for a file that cannot be read as weights, MismatchError naming the first weights that are
    missing, too many or of another shape or kind, and InvalidInputError for a module on the meta device.
    """
    matched = _matched(module, path)
    if any(target.is_meta for target, _, _ in matched):
        raise InvalidInputError(f"{type(module).__name__} lies on the meta device; give it memory with to_empty first")
    with torch.no_grad():
        for target, _, weight in matched:
            target.copy_(weight)


def weights_from(module: torch.nn.Module, path: str | os.PathLike[str]) -> Callable[[str, torch.Tensor], None]:
    """`load_weights` for a module on the meta device: returns its `fill_weight`, and copies what does have memory.

    The weights stay mapped from the file until they are wanted, if its format allows. Raises as `load_weights` does.
    """
    by_name: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for target, names, weight in _matched(module, path):
            if target.is_meta:
                by_name.update(dict.fromkeys(names, weight))
            else:
                target.copy_(weight)

    def fill_weight(name: str, place: torch.Tensor) -> None:
        place.copy_(by_name[name])

    return fill_weight


def _matched(
    module: torch.nn.Module, path: str | os.PathLike[str]
) -> list[tuple[torch.Tensor, list[str], torch.Tensor]]:
    """Each tensor of the module's state that the file at `path` has, its names, and the file's tensor."""
    tied = _tied_weights(module)
    named = _renamed(read_weights(path), [name for _, names in tied for name in names])
    problems = list(_problems(tied, named))
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise MismatchError(
            f"{os.fspath(path)} does not fit {type(module).__name__}: {'; '.join(problems[:4])}{more}; "
            "use weights of this very architecture"
        )
    present = ((target, names, [name for name in names if name in named]) for target, names in tied)
    return [(target, names, named[found[0]]) for target, names, found in present if found]


def read_weights(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The tensors in a file by name, on the CPU, mapped from the file where its format allows.

    Raises DocumentError if the file is not there, is truncated, or is neither safetensors nor a state dict.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise DocumentError(f"cannot read {os.fspath(path)}: {error.strerror}") from None
    if not start:
        raise DocumentError(f"{os.fspath(path)} is empty; it should be safetensors or a state dict")
    try:
        # A safetensors file, whatever its name, starts with 8 bytes of its header's length; the header is JSON.
        weights = _read_safetensors(path) if start[8:] == b"{" else _read_state_dict(path)
    except pickle.UnpicklingError:
        raise DocumentError(
            f"{os.fspath(path)} is no state dict, or holds more than tensors; "
            "save the state dict alone (torch.save(model.state_dict(), ...) or safetensors)"
        ) from None
    except Exception as error:  # what a damaged archive makes its readers raise has no limits
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DocumentError(f"{os.fspath(path)} cannot be read as weights: {reason}; fetch or save it again") from None
    if not isinstance(weights, Mapping) or not weights:
        raise DocumentError(f"{os.fspath(path)} holds a {type(weights).__name__}, not a state dict")
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
            raise DocumentError(f"{os.fspath(path)} is no state dict of dense tensors: look at {name!r:.80}")
    return dict(weights)


def _read_safetensors(path: str | os.PathLike[str]) -> object:
    from safetensors import safe_open

    with safe_open(os.fspath(path), framework="pt", device="cpu") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


def _read_state_dict(path: str | os.PathLike[str]) -> object:
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    # Lightning and most training scripts keep more than the weights.
    return content["state_dict"] if isinstance(content, Mapping) and "state_dict" in content else content


def _tied_weights(module: torch.nn.Module) -> list[tuple[torch.Tensor, list[str]]]:
    """Every tensor of the module's state with all of its names."""
    by_identity: dict[int, tuple[torch.Tensor, list[str]]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if isinstance(tensor, torch.Tensor):  # and not the extra state of a user's module
            by_identity.setdefault(id(tensor), (tensor, []))[1].append(name)
    return list(by_identity.values())


def _renamed(weights: Mapping[str, torch.Tensor], expected: Sequence[str]) -> dict[str, torch.Tensor]:
    """`weights` by the names that a module uses, which are `expected`."""
    weights = {_modern(name): tensor for name, tensor in weights.items()}
    file_prefix, module_prefix = _prefixes(weights, expected)
    return {
        module_prefix + name.removeprefix(file_prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(file_prefix)
    }


def _modern(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _prefixes(given: Mapping[str, torch.Tensor], expected: Sequence[str]) -> tuple[str, str]:
    """What precedes the names in the file, and in the module: whichever makes most names agree, if most do."""
    known = set(expected)
    votes = Counter({("", ""): sum(name in given for name in known)})
    votes.update((prefix, "") for name in given for prefix, rest in _splits(name) if rest in known)
    votes.update(("", prefix) for name in known for prefix, rest in _splits(name) if rest in given)
    best = max(votes, key=lambda prefixes: (votes[prefixes], -len("".join(prefixes))))
    return best if votes[best] > len(known) // 2 else ("", "")


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """ "a.b.c" as ("a.", "b.c") and ("a.b.", "c")."""
    for index, character in enumerate(name):
        if character == ".":
            yield name[: index + 1], name[index + 1 :]


def _problems(tied: Sequence[tuple[torch.Tensor, list[str]]], given: Mapping[str, torch.Tensor]) -> Iterator[str]:
    """What keeps the weights `given` from being copied, a phrase for each."""
    for target, names in tied:
        present = [name for name in names if name in given]
        if not present and not names[0].endswith(_OPTIONAL):
            yield f"{names[0]} is missing"
        for name in present:
            tensor = given[name]
            if tensor.shape != target.shape:
                yield f"{name} has shape {list(tensor.shape)} instead of {list(target.shape)}"
            elif _kind(tensor) != _kind(target):
                yield f"{name} is of {tensor.dtype} instead of {target.dtype}"
            elif name != present[0] and not torch.equal(tensor, given[present[0]].to(tensor.dtype)):
                yield f"{name} and {present[0]} are tied and differ"
    known = {name for _, names in tied for name in names}
    for name in given:
        if name not in known and not name.endswith(_OBSOLETE):
            yield f"{name} is not one of its weights"


def _kind(tensor: torch.Tensor) -> tuple[bool, bool]:
    """Values are cast within a kind only (integers, floating-point or complex numbers): else they would be lost."""
    return tensor.is_floating_point(), tensor.is_complex()
