module mooring.dev/tests/cluster/offline/runc

go 1.26
