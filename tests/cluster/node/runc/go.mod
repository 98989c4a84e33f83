module mooring.dev/tests/cluster/node/runc

go 1.26
