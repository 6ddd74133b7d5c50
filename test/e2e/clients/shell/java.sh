# Java reads neither the proxy's variables nor a PEM file: the JDK's own tool makes a trust store of it.
set -e
keytool -importcert -noprompt -alias sidekey -file "$NODE_EXTRA_CA_CERTS" -keystore trust.p12 -storepass changeit 2>/dev/null
proxy=${HTTPS_PROXY#http://}
exec java -Dhttps.proxyHost="${proxy%:*}" -Dhttps.proxyPort="${proxy##*:}" \
  -Djavax.net.ssl.trustStore=trust.p12 -Djavax.net.ssl.trustStorePassword=changeit "$2" "$1"
