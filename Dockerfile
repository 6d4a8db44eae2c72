# An edge node. Everything it must remember is in NATS: the container has no volume and can be thrown away.

FROM node:22-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npm run build && npm prune --omit=dev

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
# The image's user node, by number: Kubernetes can tell then that it is not root. Files above belong to root: a node cannot change itself.
USER 1000:1000
# MQTT over TCP, MQTT over WebSocket, health and metrics.
EXPOSE 1883 8083 11883
STOPSIGNAL SIGTERM
# Alive, not ready: a node that waits for NATS must not be restarted for it.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.SUPERMQ_HTTP_PORT || 11883) + '/healthz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# A young generation that is not small after each pause: see docs/operations.md, Sizing.
ENTRYPOINT ["node", "--min-semi-space-size=8", "dist/main.js"]
