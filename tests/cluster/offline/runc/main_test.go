package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestABundleLosesOnlyWhatTheKernelWouldRefuse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	before := `{"process":{"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_RESOURCE"]},"oomScoreAdj":-999,` +
		`"rlimits":[{"hard":1048576,"soft":1048576,"type":"RLIMIT_NOFILE"}]},"size":9223372036854775807}`
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := loosen([]string{"runc", "create", "--bundle", dir, "id"}); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"process":{"capabilities":{"bounding":["CAP_CHOWN"]}},"size":9223372036854775807}`
	if string(after) != want {
		t.Errorf("config.json is %s, want %s", after, want)
	}
}

func TestABoundingSetWithoutTheCapabilityIsTold(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\trunc\nCapBnd:\t000001fffeffffff\n": false,
		"Name:\trunc\nCapBnd:\t000001ffffffffff\n": true,
	} {
		if got, err := mayRaiseLimits(status); err != nil || got != want {
			t.Errorf("mayRaiseLimits(%q) = %v, %v, want %v", status, got, err, want)
		}
	}
}
