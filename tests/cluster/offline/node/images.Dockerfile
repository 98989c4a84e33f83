# The images that kubeadm and the node's own manifests name, one target each, from programs that assemble.sh puts in bin/.
ARG BASE
FROM ${BASE} AS base
# busybox for shell scripts, nft and the libraries it is linked with for kube-proxy and node-network.
RUN mkdir -p /out/bin && busybox --install -s /out/bin && cp --parents "$(readlink /out/bin/sh)" /out \
 && cp --parents --dereference /usr/sbin/nft $(ldd /usr/sbin/nft | grep --only-matching '/[^ ]*') /out

FROM scratch AS busybox
COPY --from=base /out/bin /bin
COPY --from=base /out/usr/bin /usr/bin

FROM scratch AS kubernetes
COPY --from=base /out /
COPY bin/kubernetes/ /usr/local/bin/

FROM scratch AS coredns
COPY bin/coredns /coredns
ENTRYPOINT ["/coredns"]

FROM scratch AS local-path-provisioner
COPY bin/local-path-provisioner /usr/local/bin/local-path-provisioner

FROM scratch AS pause
COPY bin/pause /pause
USER 65535:65535
ENTRYPOINT ["/pause"]
