package vm

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// A machine with the usual memory, its emulator and the internet around it.
// QEMU takes 565 to 595 MiB beside 384 MiB of guest memory (reference
// network-trial, Numbers).
const placeMiB = defaultMemoryMiB + 400

// Places is how many machines can run at a time on this host, and what limits
// them. A machine under TCG keeps little more than one processor busy.
func Places() (n int, why string) {
	byCPU := runtime.NumCPU()
	available, err := memAvailable()
	if err != nil {
		return 1, fmt.Sprintf("the memory is unknown: %v", err)
	}
	if byMemory := available / placeMiB; byMemory < byCPU {
		return max(1, byMemory), fmt.Sprintf("%d MiB of memory are available", available)
	}
	return byCPU, fmt.Sprintf("%d processors", byCPU)
}

// memAvailable is the memory that programs can still have, in MiB (proc_meminfo(5)).
func memAvailable() (int, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(rest, "kB")))
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo has no MemAvailable: %v", lines.Err())
}
