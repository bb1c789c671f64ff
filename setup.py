"""The optional part of the build: the kernels, compiled by Cython where a C compiler is there.

Everything else about the build stands in pyproject.toml. Where compiling fails the installation goes on
without the kernels, and says so once.
"""

import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = sorted(p for p in Path("netsim/kernels").glob("*.py") if p.name != "__init__.py")
FLAGS = [] if sys.platform == "win32" else ["-O3", "-fno-math-errno"]
DIRECTIVES = {
    "boundscheck": False,
    "cdivision": True,
    "initializedcheck": False,
    "language_level": 3,
    "wraparound": False,
}
NOTICE = (
    "netsim: the compiled kernels could not be built ({}). The installation is complete without them: "
    "every answer is the same, large rule sets and batches of packets take longer."
)


class BuildKernels(build_ext):
    """Builds all kernels or none."""

    def run(self) -> None:
        """Build; a failure is a notice."""
        try:
            super().run()
        except Exception as error:  # no compiler, no headers, a compiler that fails
            sys.stderr.write(NOTICE.format(" ".join(str(error).split())[:200]) + "\n")
            self.extensions = []  # nothing to copy or to record


setup(
    cmdclass={"build_ext": BuildKernels},
    ext_modules=cythonize(
        [Extension(".".join(p.with_suffix("").parts), [str(p)], extra_compile_args=FLAGS) for p in KERNELS],
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
        quiet=True,
    ),
)
