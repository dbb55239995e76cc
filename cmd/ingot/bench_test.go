package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/renameio/v2"

	"ingot/images"
)

var benchReport = flag.String("bench-report", "", "TestBuildTimes runs, and writes what it measured to this file")

// How often each kind of build is timed; the median counts, of two the slower.
const (
	coldRuns = 2
	warmRuns = 5
)

// Builds that both builders make.
const (
	coldBuild = "cold, packages in the cache"
	warmBuild = "one line changed"
)

// series is one kind of build, timed.
type series struct {
	what    string
	seconds []float64
	peakMiB float64 // of memory
}

func (s series) median() float64 {
	sorted := slices.Sorted(slices.Values(s.seconds))
	return sorted[len(sorted)/2]
}

// bench collects what is measured.
type bench struct {
	t       *testing.T
	server  server
	builder string // name of the foreign builder, empty when there is none
	ours    []series
	theirs  []series
	notes   []string
}

// TestBuildTimes times builds of the example, and mkosi's of the same packages
// in the same run where mkosi is installed. "make bench" runs it.
func TestBuildTimes(t *testing.T) {
	if *benchReport == "" {
		t.Skip("it takes 20 minutes and wants a quiet machine; make bench runs it")
	}
	// The programs that "make" makes: ingot in PATH is the test itself otherwise,
	// which takes longer to begin.
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	b := &bench{t: t, server: newServer(t)}
	b.cold()
	b.warm()
	b.same()
	b.release()
	b.mkosi()
	report := b.report()
	if err := renameio.WriteFile(*benchReport, report, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", report)
}

// timed runs a build and remembers how long it took, and the most memory that
// it and its programs had at once.
func (b *bench) timed(s *series, cmd *exec.Cmd) outcome {
	b.t.Helper()
	stop := make(chan struct{})
	peak := make(chan float64)
	go func() {
		most := 0.0
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				peak <- most
				return
			case <-tick.C:
				if cmd.Process != nil {
					most = max(most, memoryOf(cmd.Process.Pid))
				}
			}
		}
	}()
	start := time.Now()
	o := finish(b.t, cmd)
	s.seconds = append(s.seconds, time.Since(start).Seconds())
	close(stop)
	s.peakMiB = max(s.peakMiB, <-peak)
	if o.code != 0 {
		b.t.Fatalf("%v: exit code %d\n%s", cmd.Args, o.code, o.stderr)
	}
	return o
}

// memoryOf is what a process and all below it have in memory of their own, in MiB:
// what is resident and not of a file, proc_pid_statm(5).
func memoryOf(pid int) float64 {
	statm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)) // it may have ended
	total := 0.0
	if f := strings.Fields(string(statm)); len(f) > 2 {
		resident, _ := strconv.Atoi(f[1])
		shared, _ := strconv.Atoi(f[2])
		total = float64((resident-shared)*os.Getpagesize()) / (1 << 20)
	}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for child := range strings.FieldsSeq(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				total += memoryOf(n)
			}
		}
	}
	return total
}

func (b *bench) add(s series) { b.ours = append(b.ours, s) }

// cold builds in an empty cache that has the packages.
func (b *bench) cold() {
	s := series{what: coldBuild}
	for range coldRuns {
		cache := filepath.Join(b.t.TempDir(), "cache")
		coldCache(b.t, b.server.cache, cache, true)
		b.timed(&s, ingot(b.t, cache, "build", "--locked", b.server.copy(b.t)))
		must(b.t, "rm", "-rf", cache)
	}
	b.add(s)
}

// warm changes one line of ingot.yaml each time.
func (b *bench) warm() {
	s := series{what: warmBuild}
	dir := b.server.copy(b.t)
	for i := range warmRuns {
		replace(b.t, dir, why(i-1), why(i))
		o := b.timed(&s, ingot(b.t, b.server.cache, "build", "--json", "--locked", dir))
		if got := redone(built(b.t, o)); !slices.Equal(got, []string{"root", "disk"}) {
			b.t.Errorf("a changed line redoes %q", got)
		}
	}
	b.add(s)
}

// why is the line that changes: the reason for a port, which the rules have as a
// comment. It is another in every run of the benchmark, as the cache stays.
func why(i int) string {
	if i < 0 {
		return "HTTPS reverse proxy"
	}
	return fmt.Sprintf("HTTPS reverse proxy %d %d", os.Getpid(), i)
}

// same builds again what is there.
func (b *bench) same() {
	s := series{what: "nothing changed"}
	for range warmRuns {
		o := b.timed(&s, ingot(b.t, b.server.cache, "build", "--json", "--locked", b.server.dir))
		if got := redone(built(b.t, o)); len(got) > 0 {
			b.t.Errorf("without a change %q are redone", got)
		}
	}
	b.add(s)
	v := series{what: "ingot validate"}
	for range warmRuns {
		b.timed(&v, ingot(b.t, b.server.cache, "validate", b.server.dir))
	}
	b.add(v)
}

// release tells how large the image is, as built for a release.
func (b *bench) release() {
	s := series{what: "release profile, one line changed"}
	dir := b.server.copy(b.t)
	replace(b.t, dir, why(-1), why(warmRuns))
	r := built(b.t, b.timed(&s, ingot(b.t, b.server.cache, "build", "--json", "--locked", "--release", dir)))
	b.add(s)
	if o := finish(b.t, ingot(b.t, b.server.cache, "convert", "--format", "raw.zst", dir)); o.code != exitFine {
		b.t.Fatal(o.stderr)
	}
	info, err := os.Stat(r.Image + ".zst")
	if err != nil {
		b.t.Fatal(err)
	}
	b.notes = append(b.notes, fmt.Sprintf("The image in the fast profile: %s, %s on disk. In the release profile: %s, %s on disk, %s as raw.zst.",
		size(b.server.result.Bytes), size(b.server.result.DiskBytes), size(r.Bytes), size(r.DiskBytes), size(info.Size())))
}

// mkosi builds a disk of the same packages with mkosi, when it is installed.
func (b *bench) mkosi() {
	program, err := exec.LookPath("mkosi")
	if err != nil {
		b.notes = append(b.notes, "mkosi is not installed: no ratios.")
		return
	}
	version, err := exec.Command(program, "--version").Output()
	if err != nil {
		b.t.Fatal(err)
	}
	b.builder = strings.TrimSpace(string(version))
	lock, err := images.ReadLock(filepath.Join(b.server.dir, images.LockFile))
	if err != nil {
		b.t.Fatal(err)
	}
	dir := b.t.TempDir()
	write(b.t, filepath.Join(dir, "mkosi.conf"), mkosiConf(lock))
	if err := os.Mkdir(filepath.Join(dir, "cache"), 0o755); err != nil {
		b.t.Fatal(err)
	}
	changed := filepath.Join(dir, "mkosi.extra/etc/motd")
	write(b.t, changed, "0\n")
	build := func(s *series, args ...string) {
		cmd := exec.CommandContext(b.t.Context(), program, append([]string{"--directory", dir, "--force"}, args...)...)
		b.timed(s, cmd)
	}
	build(&series{}) // tools tree and downloads, which are not timed
	cold := series{what: coldBuild}
	for range coldRuns {
		build(&cold, "--force") // twice: without the cached image
	}
	warm := series{what: warmBuild}
	for i := range warmRuns {
		write(b.t, changed, fmt.Sprintf("%d\n", i+1))
		build(&warm)
	}
	b.theirs = append(b.theirs, cold, warm)
	if out, err := exec.Command("du", "-m", filepath.Join(dir, "image.raw")).Output(); err == nil {
		b.notes = append(b.notes, "mkosi's disk takes "+strings.Fields(string(out))[0]+" MiB.")
	}
	b.notes = append(b.notes, "mkosi installs the same packages and systemd-boot, keeps its tools tree when it builds cold, where ingot makes its own three and compiles Ignition, and changes /etc/motd when a line changes. Its image has no layers, and is neither sealed nor reproducible unless it is told more.")
}

// mkosiConf is a disk with the packages of the lock, incrementally built, from
// the same mirror. The rest is mkosi's default.
func mkosiConf(lock images.Lock) string {
	var names []string
	for _, p := range lock.Trees[images.TreeImage] {
		names = append(names, p.Name)
	}
	mirror := ""
	if lock.Mirror != images.DefaultMirror {
		mirror = "Mirror=" + lock.Mirror
	}
	return fmt.Sprintf(`[Distribution]
Distribution=debian
Release=%s
%s

[Output]
Format=disk
Output=image

[Content]
Bootable=yes
WithDocs=no
Packages=systemd-boot-efi
    %s

[Build]
Incremental=yes
CacheDirectory=cache
ToolsTree=default
ToolsTreeRelease=%s
PackageCacheDirectory=packages
`, lock.Suite, mirror, strings.Join(names, "\n    "), lock.Suite)
}

// report is the page.
func (b *bench) report() []byte {
	var s bytes.Buffer
	fmt.Fprintf(&s, "# Benchmarks\n\nWritten by `make bench` on %d processors (%s). Of %d cold builds the slower, of %d others the median, in seconds; what is fast on one machine is slow on the next, the ratios stay.\n\n",
		runtime.NumCPU(), processor(), coldRuns, warmRuns)
	head, rule := "| build | ingot | from | to | MiB |", "|---|---|---|---|---|"
	if b.builder != "" {
		head, rule = head+" "+b.builder+" | times | MiB |", rule+"---|---|---|"
	}
	fmt.Fprintln(&s, head+"\n"+rule)
	for _, o := range b.ours {
		fmt.Fprintf(&s, "| %s | %.2f | %.2f | %.2f | %.0f |", o.what, o.median(), slices.Min(o.seconds), slices.Max(o.seconds), o.peakMiB)
		if b.builder != "" {
			i := slices.IndexFunc(b.theirs, func(x series) bool { return x.what == o.what })
			if i >= 0 {
				fmt.Fprintf(&s, " %.2f | %.1f | %.0f |", b.theirs[i].median(), b.theirs[i].median()/o.median(), b.theirs[i].peakMiB)
			} else {
				fmt.Fprint(&s, " | | |")
			}
		}
		fmt.Fprintln(&s)
	}
	fmt.Fprintf(&s, "\nMiB is the most memory that a build and its programs had at once, without pages of files.\n")
	for _, n := range b.notes {
		fmt.Fprintf(&s, "\n%s\n", n)
	}
	fmt.Fprintf(&s, "\nWhere the time of a changed line goes:\n\n%s", b.stages())
	return s.Bytes()
}

// stages are the seconds of the last build with a change, stage by stage.
func (b *bench) stages() string {
	dir := b.server.copy(b.t)
	replace(b.t, dir, why(-1), why(warmRuns+1))
	r := built(b.t, finish(b.t, ingot(b.t, b.server.cache, "build", "--json", "--locked", dir)))
	var s strings.Builder
	w := tabwriter.NewWriter(&s, 0, 0, 2, ' ', 0)
	all := 0.0
	for _, st := range r.Stages {
		if !st.Cached {
			fmt.Fprintf(w, "    %s\t%.2f s\n", st.Name, st.Seconds)
		}
		all += st.Seconds
	}
	fmt.Fprintf(w, "    the rest\t%.2f s\n", r.Seconds-all)
	w.Flush()
	return s.String()
}

func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range bytes.Lines(info) {
		if k, v, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return cmp.Or(runtime.GOARCH, "unknown")
}
