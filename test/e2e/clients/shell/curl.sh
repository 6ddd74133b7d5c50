set -e
auth="Authorization: Bearer $API_KEY"
curl -sS -H "$auth" "$1/v1/models"
head -c 1000000 /dev/zero | tr '\0' x | curl -sS -H "$auth" --data-binary @- "$1/v1/echo"
curl -sSN -H "$auth" "$1/v1/stream"
