# Debian's wget is built with GnuTLS and reads no variable for its CA file.
set -e
get() { wget -q -O - --ca-certificate="$SSL_CERT_FILE" --header="Authorization: Bearer $API_KEY" "$@"; }
get "$1/v1/models"
head -c 1000000 /dev/zero | tr '\0' x > body.txt
get --post-file=body.txt "$1/v1/echo"
get "$1/v1/stream"
