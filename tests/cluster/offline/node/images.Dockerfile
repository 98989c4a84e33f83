# The images that kubeadm and the node's own manifests name, one target each, from programs that assemble.sh puts in bin/.
ARG BASE
FROM ${BASE} AS base
# busybox for shell scripts; nft for kube-proxy and node-network, iptables and ipset for kube-router, each with what it loads.
RUN mkdir -p /out/bin && busybox --install -s /out/bin && cp --parents "$(readlink /out/bin/sh)" /out
RUN programs="/usr/sbin/nft /usr/sbin/ipset /usr/sbin/iptables /usr/sbin/iptables-save /usr/sbin/iptables-restore" \
 && cp --parents --dereference $programs $(ldd $programs | grep --only-matching '/[^ :]*\.so[^ :]*' | sort --unique) /out \
 && cp --parents --recursive /usr/lib/*/xtables /out

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
