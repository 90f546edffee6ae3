#!/bin/sh
# Runs once in the node image during its build: the steps of kind's own Dockerfile on Debian, with
# Debian's containerd and CNI plugins at the paths that kind expects.
set -eu

mkdir -p /usr/local/bin /usr/local/sbin /opt/cni /etc/kubernetes/manifests /LICENSES
for name in containerd ctr containerd-shim-runc-v2; do
    ln -s "/usr/bin/$name" "/usr/local/bin/$name"
done
ln -s /usr/sbin/runc /usr/local/sbin/runc
ln -s /usr/lib/cni /opt/cni/bin

# A container has no hardware and no file systems to set up; these units would hang or fail.
rm -f /lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service \
    /lib/systemd/system/multi-user.target.wants/* \
    /etc/systemd/system/*.wants/* \
    /lib/systemd/system/local-fs.target.wants/* \
    /lib/systemd/system/sockets.target.wants/*udev* \
    /lib/systemd/system/sockets.target.wants/*initctl* \
    /lib/systemd/system/basic.target.wants/* \
    /lib/systemd/system/containerd.service
echo "ReadKMsg=no" >>/etc/systemd/journald.conf

systemctl enable kubelet.service containerd.service undo-mount-hacks.service \
    nanogrid-routes.service
systemctl mask systemd-binfmt.service

ctr oci spec |
    jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}]
        | del(.process.rlimits)' >/etc/containerd/cri-base.json
