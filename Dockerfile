# Sidekey as a container: docker build -t sidekey:0.1.0 .
#
# Only what is named below goes into a stage, so that neither .git nor a state directory can end up in the image.
# docs/deployment.md says how to run it; test/e2e/deployment.test.ts runs these steps without an engine.

FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# No package's install script runs; what is native comes prebuilt.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY config ./config
COPY src ./src
RUN npm run build && npm prune --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:24-slim
LABEL org.opencontainers.image.title="sidekey" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json README.md LICENSE ./
COPY config ./config
# Everything above stays root's: the program cannot change itself. A volume mounted at one of these takes its owner.
RUN ln -s /app/dist/main.js /usr/local/bin/sidekey && \
    install -d -o 10001 -g 10001 -m 0700 /var/lib/sidekey && \
    install -d -o 10001 -g 10001 -m 0755 /var/lib/sidekey-ca && \
    install -d /etc/sidekey
ENV NODE_ENV=production \
    SIDEKEY_CONFIG=/etc/sidekey/sidekey.yaml
# No user that an agent's image has too: another uid is what keeps the agent out.
USER 10001:10001
EXPOSE 7070 7071 7072
# By the admin socket, so that no port has to be open for it. Kubernetes has probes of its own and never runs this.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["sidekey", "status", "--ready"]
ENTRYPOINT ["sidekey"]
CMD ["start"]
