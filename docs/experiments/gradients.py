"""How alike the gradients of one joint loss and of two separate ones are, where a run ended.

    gradients.py STEPS --run RUN

STEPS holds joint/, refiner/ and generator/: runs of one step of plain gradient descent on the same pairs, from where RUN
ended (hybrid.md has the commands). What a step changed is the gradient times the rate; printed is the cosine of the joint
step's change of each half with the change that half makes alone.

Made with numpy and safetensors.
"""
import argparse
import pathlib

import numpy
from safetensors.numpy import load_file

FILES = {"refiner": "refiner/model.safetensors", "generator": "generator/unet/diffusion_pytorch_model.safetensors"}


def change(run, start, half):
    after, before = (load_file(folder / "model" / FILES[half]) for folder in (run, start))
    return numpy.concatenate([(after[name].astype(float) - before[name]).ravel() for name in sorted(before)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", type=pathlib.Path)
    parser.add_argument("--run", type=pathlib.Path, required=True)
    options = parser.parse_args()
    for half in FILES:
        joint, alone = (change(options.steps / name, options.run, half) for name in ("joint", half))
        cosine = joint @ alone / numpy.linalg.norm(joint) / numpy.linalg.norm(alone)
        print(f"{half}: cosine {cosine:.4f}, norms joint {numpy.linalg.norm(joint):.3e}, alone {numpy.linalg.norm(alone):.3e}")


if __name__ == "__main__":
    main()
