"""What is said of shared libraries that are missing."""

from pathlib import Path

import pytest

from dockyard.payload.libraries import TABLE, find_installed, locate, name_package
from dockyard.verify.rules.runtime import debian_package

PACKAGES = {
    "ld-linux-x86-64.so.2": "libc6",
    "libm.so.6": "libc6",
    "libnsl.so.1": "libc6",
    "libz.so.1": "zlib1g",
    "libcrypto.so.3": "libssl3",
    "libcrypto.so.1.1": "libssl1.1",
    "libxml2.so.2": "libxml2",
    "libexslt.so.0": "libxslt1.1",
    "libxslt.so.1": "libxslt1.1",
    "libxmlsec1.so.1": "libxmlsec1",
    "libxmlsec1-openssl.so.1": "libxmlsec1-openssl",
    "libgobject-2.0.so.0": "libglib2.0-0",
    "libgstbase-1.0.so.0": "libgstreamer1.0-0",
    "libatk-1.0.so.0": "libatk1.0-0",
    "libatk-bridge-2.0.so.0": "libatk-bridge2.0-0",
    "libatspi.so.0": "libatspi2.0-0",
    "libgtk-x11-2.0.so.0": "libgtk2.0-0",
    "libgdk-3.so.0": "libgtk-3-0",
    "librsvg-2.so.2": "librsvg2-2",
    "libharfbuzz.so.0": "libharfbuzz0b",
    "libjpeg.so.62": "libjpeg62-turbo",
    "libGLU.so.1": "libglu1-mesa",
    "libGLESv2.so.2": "libgles2",
    "libOSMesa.so.8": "libosmesa6",
    "libOpenCL.so.1": "ocl-icd-libopencl1",
    "libsmime3.so": "libnss3",
    "libplds4.so": "libnspr4",
    "libcurl-gnutls.so.4": "libcurl3-gnutls",
    "libcares.so.2": "libc-ares2",
    "libbrotlidec.so.1": "libbrotli1",
    "libabsl_cord.so.20220623": "libabsl20220623",
    "liblber-2.5.so.0": "libldap-2.5-0",
    "libpam_misc.so.0": "libpam0g",
    "libpsx.so.2": "libcap2",
    "libhistory.so.8": "libreadline8",
    "libtic.so.6": "libtinfo6",
    "libpanelw.so.6": "libncursesw6",
    "libmenu.so.6": "libncurses6",
    "libtk8.6.so.0": "libtk8.6",
    "libtcl8.6.so": "libtcl8.6",
    "libdb-5.3.so": "libdb5.3",
    "libgeos_c.so.1": "libgeos-c1v5",
    "libgeos3.so.12": "libgeos3-12",
    "libsnappy.so.1": "libsnappy1v5",
    "libpoppler-cpp.so.0": "libpoppler-cpp0v5",
    "libhdf5_serial.so.103": "libhdf5-103-1",
    "libmysqlclient.so.21": "libmariadb3",
    "libmariadb.so.3": "libmariadb3",
    "libgomp.so.1": "libgomp1",
    "libicuuc.so.72": "libicu72",
    "libpython3.11.so.1.0": "libpython3.11",
    "libX11.so.6": "libx11-6",
    "libsasl2.so.2": "libsasl2-2",
    "libpango-1.0.so.0": "libpango-1.0-0",
    "libpcre2-8.so.0": "libpcre2-8-0",
    "libpq.so.5": "libpq5",
    "libGL.so.1": "libgl1",
    "libgcc_s.so.1": "libgcc-s1",
    "libstdc++.so.6": "libstdc++6",
    "libbz2.so.1.0": "libbz2-1.0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libboost_system.so.1.74.0": "libboost-system1.74.0",
    "libproject.so": "",
    "plugin.so.1": "",
    "notalib": "",
}
"""Libraries and the packages that have them in Debian 12; none where no rule says."""


@pytest.mark.parametrize(("library", "package"), PACKAGES.items())
def test_the_package_of_a_library(library: str, package: str) -> None:
    """By the table, or by Debian's own rule for names; a build and a verify say the same."""
    assert (name_package(library), debian_package(library)) == (package, package)


def test_every_row_of_the_table_has_its_example() -> None:
    """Without a row, one of the examples gets another package."""
    rows = [line for line in TABLE.read_text("utf-8").splitlines() if not line.startswith("#")]
    for row in rows:
        others = [line for line in rows if line != row]
        assert {library: name_package(library, others) for library in PACKAGES} != PACKAGES, row


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Return dpkg's lists of a system with one package, whose library lies in a folder of its own."""
    (tmp_path / "libsyn:amd64.list").write_text("/.\n/usr/lib\n/usr/lib/syn/libsyn.so.1\n/usr/lib/syn/libsyn.so.1.2\n")
    (tmp_path / "broken.md5sums").write_text("/usr/lib/libsyn.so.1\n")
    return tmp_path


def test_an_installed_library_where_no_linker_looks(lists: Path) -> None:
    """Dpkg knows whose it is, and where it lies."""
    assert find_installed("libsyn.so.1", lists) == ("libsyn", "/usr/lib/syn/libsyn.so.1")
    assert find_installed("syn.so.1", lists) == ("", "")


@pytest.mark.parametrize(
    ("library", "where"),
    [
        ("libpq.so.5", "usually in the Debian package libpq5"),
        ("libproject.so", ""),
        ("libsyn.so.1", "the package libsyn has it at /usr/lib/syn/libsyn.so.1, where the linker does not look"),
    ],
)
def test_where_a_library_is_to_be_had(lists: Path, library: str, where: str) -> None:
    """What is installed is known, what is derived is said to be usual."""
    assert locate(library, lists) == where
