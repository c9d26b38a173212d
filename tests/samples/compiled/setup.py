from setuptools import find_packages, setup

REQUIRED = ["flask", "pycairo"]

setup(name="chart", version="2.0", packages=find_packages(), install_requires=REQUIRED)
