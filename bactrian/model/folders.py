"""What a model's folder must hold, told from the names of its files: without torch, before anything is loaded."""

from pathlib import Path

from bactrian.errors import BactrianError

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def check_folder(folder: Path) -> None:
    """Refuse a folder that is no model.

    Raises:
        BactrianError: not a folder, no config.json, no safetensors, or weights only as pickles.
    """
    if not folder.is_dir():
        raise BactrianError(f"{folder}: not a model folder")
    names = sorted(path.name for path in folder.iterdir())
    if "config.json" not in names:
        raise BactrianError(f"{folder}: no config.json: expected a model in the Hugging Face layout, found {names}")
    if not any(name.endswith(".safetensors") for name in names):
        pickles = [name for name in names if name.endswith(PICKLES)]
        if pickles:
            raise BactrianError(
                f"{folder}: weights only as {', '.join(pickles)}: a pickle can run any code when it is read, so it is "
                "refused; expected *.safetensors. Convert it where it comes from"
            )
        raise BactrianError(f"{folder}: no weights: expected *.safetensors, found {names}")
