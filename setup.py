"""Packages of a wheel: data/ goes into it as livetalk_ref/data. All else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["livetalk_ref*"]), "livetalk_ref.data"],
      package_dir={"livetalk_ref.data": "data"})
