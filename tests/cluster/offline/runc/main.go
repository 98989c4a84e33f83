// Command runc stands before Debian's runc on machines whose root lacks CAP_SYS_RESOURCE. There the kernel refuses to
// grant that capability, to lower a process's OOM score or to raise its limits, so a privileged container does not start.
// It takes those three out of what the container's process asks for and then becomes the real runc. Where the
// capability is there, it changes nothing.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	realRunc   = "/usr/sbin/runc"
	capability = "CAP_SYS_RESOURCE"
	capBit     = 24 // linux/capability.h
)

func main() {
	if err := run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "runc wrapper:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	allowed, err := mayRaiseLimits(string(status))
	if err != nil {
		return err
	}
	if !allowed {
		if err := loosen(args); err != nil {
			return err
		}
	}
	return syscall.Exec(realRunc, append([]string{realRunc}, args[1:]...), os.Environ())
}

// mayRaiseLimits reads the bounding set out of /proc/PID/status (proc_pid_status(5)).
func mayRaiseLimits(status string) (bool, error) {
	for line := range strings.Lines(status) {
		if hex, found := strings.CutPrefix(line, "CapBnd:"); found {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return set&(1<<capBit) != 0, err
		}
	}
	return false, fmt.Errorf("no CapBnd in /proc/self/status")
}

// loosen edits the bundle's config.json (create, run) or the process file (exec) that the arguments name.
func loosen(args []string) error {
	if bundle, found := flag(args, "--bundle", "-b"); found {
		return edit(filepath.Join(bundle, "config.json"), func(config map[string]any) {
			if process, ok := config["process"].(map[string]any); ok {
				loosenProcess(process)
			}
		})
	}
	if process, found := flag(args, "--process", "-p"); found {
		return edit(process, loosenProcess)
	}
	return nil
}

// flag returns the value of `--name value` or `--name=value`.
func flag(args []string, names ...string) (string, bool) {
	for i, arg := range args {
		name, value, inline := strings.Cut(arg, "=")
		if !slices.Contains(names, name) {
			continue
		}
		if inline {
			return value, true
		}
		if i+1 < len(args) {
			return args[i+1], true
		}
	}
	return "", false
}

// loosenProcess works on an OCI runtime specification's process object.
func loosenProcess(process map[string]any) {
	delete(process, "oomScoreAdj")
	delete(process, "rlimits")
	sets, _ := process["capabilities"].(map[string]any)
	for name, set := range sets {
		if granted, ok := set.([]any); ok {
			sets[name] = slices.DeleteFunc(granted, func(c any) bool { return c == capability })
		}
	}
}

func edit(path string, change func(map[string]any)) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var document map[string]any
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber() // 64-bit limits must not pass through a float
	if err := decoder.Decode(&document); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	change(document)
	if content, err = json.Marshal(document); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, content, 0o600)
}
