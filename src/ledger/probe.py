"""Ask the service in this container whether it can serve: `python -m ledger.probe`, for HEALTHCHECK.

An image without a shell or curl still has Python; only the standard library is imported, to be quick.
"""

import http.client
import os
import sys
from collections.abc import Mapping

SECONDS = 2.0


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Return 0 when the service is ready, else 1 with the reason on stderr."""
    connection = http.client.HTTPConnection("127.0.0.1", int(environ.get("PORT") or "8000"), timeout=SECONDS)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        answer = response.read(1000).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"no answer: {error}\n")
        return 1
    finally:
        connection.close()
    if response.status != 200:
        sys.stderr.write(f"{response.status}: {answer}\n")
    return int(response.status != 200)


if __name__ == "__main__":
    sys.exit(main())
