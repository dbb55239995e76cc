package images

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ingot/fault"
	"ingot/images/sbom"
)

// DefaultMirror is Debian's own public mirror. Below it are debian and
// debian-security.
const DefaultMirror = "http://deb.debian.org"

// keyring holds the archive's signing keys (Debian package
// debian-archive-keyring).
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// apt is the real apt with a state directory of its own, so that neither the
// host's sources nor its installed packages matter.
type apt struct {
	dir     string // made by update
	mirror  string // without a slash at its end
	suite   string
	keyring string
}

// update sets up apt's directories and fetches the signed indices.
func (a apt) update(ctx context.Context) error {
	if _, err := os.Stat(a.keyring); err != nil {
		return fault.Machine(fmt.Errorf("the archive keys are missing; install debian-archive-keyring: %w", err))
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return err
		}
	}
	files := map[string]string{"status": "", "sources.list": a.sources(), "apt.conf": a.config()}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	if _, err := a.run(ctx, "apt-get", "update"); ctx.Err() != nil {
		return ctx.Err()
	} else if err != nil {
		return a.explainUpdate(err)
	}
	return nil
}

func (a apt) sources() string {
	var s strings.Builder
	for _, line := range []string{
		"debian " + a.suite,
		"debian " + a.suite + "-updates",
		"debian-security " + a.suite + "-security",
	} {
		fmt.Fprintf(&s, "deb [arch=amd64 signed-by=%s] %s/%s main\n", a.keyring, a.mirror, line)
	}
	return s.String()
}

func (a apt) config() string {
	return fmt.Sprintf(`Dir::State "%[1]s/state";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s/cache";
Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Log "/dev/null";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
`, a.dir)
}

func (a apt) run(ctx context.Context, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := bound(exec.CommandContext(ctx, name, args...))
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "apt.conf"), "LC_ALL=C.UTF-8")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", aptError{name + " " + args[0], err, stderr.String()}
	}
	return stdout.String(), nil
}

// unneeded are packages that others depend on for their maintainer scripts, none of
// which runs where files are extracted for a container.
var unneeded = []string{
	"adduser", "debconf", "dpkg", "init-system-helpers", "install-info", "lsb-base", "passwd", "perl-base", "runit-helper",
	"sensible-utils", "systemd-standalone-sysusers", "sysvinit-utils", "ucf",
}

// pretended is a status file of dpkg in which they are installed, but for those
// that were asked for.
func pretended(names []string) string {
	var b strings.Builder
	for _, name := range without(unneeded, names) {
		// Newer than any that a dependency asks for.
		fmt.Fprintf(&b, "Package: %s\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: foreign\nVersion: 99999:1\nMaintainer: x\nDescription: x\n\n", name)
	}
	return b.String()
}

// resolve is the closure of a tree's names, with the essential packages when a
// system is to be installed rather than files extracted.
func (a apt) resolve(ctx context.Context, names []string, tree Tree) ([]Package, error) {
	if tree.ofContainer() {
		status := filepath.Join(a.dir, string(tree))
		if err := os.WriteFile(status, []byte(pretended(names)), 0o644); err != nil {
			return nil, err
		}
		list, err := a.closure(ctx, names, "--option", "Dir::State::status="+status)
		if err == nil || ctx.Err() != nil {
			return list, err
		}
		// What wants one of them in just its own version, as perl does, gets all.
	}
	if tree.extracted() {
		return a.closure(ctx, names)
	}
	// apt counts itself among the essential packages; an image has no use for it.
	return a.closure(ctx, names, "?and(?essential,?not(?exact-name(apt)))")
}

// closure is what apt would install for the names and arguments.
func (a apt) closure(ctx context.Context, names []string, arguments ...string) ([]Package, error) {
	args := append([]string{"install", "--yes", "--print-uris"}, arguments...)
	out, err := a.run(ctx, "apt-get", append(args, names...)...)
	if err != nil {
		return nil, a.explainInstall(err)
	}
	paths, specs, err := a.parseURIs(out)
	if err != nil {
		return nil, err
	}
	out, err = a.run(ctx, "apt-cache", append([]string{"show"}, specs...)...)
	if err != nil {
		return nil, err
	}
	packages, err := parseStanzas(out, paths)
	if err != nil {
		return nil, err
	}
	return packages, checkNames(names, packages)
}

// checkNames refuses a name that other packages merely provide: which of them
// apt takes may change from one lock to the next.
func checkNames(names []string, packages []Package) error {
	for _, name := range names {
		if !slices.ContainsFunc(packages, func(p Package) bool { return p.Name == name }) {
			return fault.Input(fmt.Errorf("%s is no package of its own but provided by others; ask for one of those", name))
		}
	}
	return nil
}

// parseURIs reads lines of "apt-get --print-uris", 'URI' file size hash, into
// the pool path of each package and its name=version.
func (a apt) parseURIs(out string) (map[string]string, []string, error) {
	paths := map[string]string{}
	var specs []string
	below := strings.Replace(a.mirror, "file://", "file:", 1) + "/" // as apt prints it
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "'") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return nil, nil, fmt.Errorf("apt printed %q, which names no file", strings.TrimSpace(line))
		}
		raw, err := url.PathUnescape(strings.Trim(fields[0], "'"))
		if err != nil {
			return nil, nil, err
		}
		file, err := url.PathUnescape(fields[1])
		if err != nil {
			return nil, nil, err
		}
		parts := strings.Split(strings.TrimSuffix(file, ".deb"), "_")
		if len(parts) != 3 || !strings.HasPrefix(raw, below) {
			return nil, nil, fmt.Errorf("apt printed %q, which is not a package of %s", strings.TrimSpace(line), a.mirror)
		}
		spec := parts[0] + "=" + parts[1]
		paths[spec] = strings.TrimPrefix(raw, below)
		specs = append(specs, spec)
	}
	return paths, specs, nil
}

// parseStanzas reads "apt-cache show" for the packages in paths.
func parseStanzas(out string, paths map[string]string) ([]Package, error) {
	found := map[string]Package{}
	for stanza := range strings.SplitSeq(out, "\n\n") {
		f := fields(stanza)
		spec := f["Package"] + "=" + f["Version"]
		path, wanted := paths[spec]
		if !wanted {
			continue
		}
		size, err := strconv.ParseInt(f["Size"], 10, 64)
		if err != nil || len(f["SHA256"]) != 64 {
			return nil, fmt.Errorf("apt has no size and SHA-256 for %s", spec)
		}
		p := Package{Name: f["Package"], Version: f["Version"], Arch: f["Architecture"], SHA256: f["SHA256"], Size: size, Path: path}
		p.Source, p.SourceVersion = sourceOf(f)
		found[spec] = p
	}
	packages := make([]Package, 0, len(paths))
	for spec := range paths {
		p, ok := found[spec]
		if !ok {
			return nil, fmt.Errorf("apt wants %s but does not describe it", spec)
		}
		packages = append(packages, p)
	}
	slices.SortFunc(packages, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	return packages, nil
}

// sourceOf is the name and version of a package's source, which the field Source
// has where they are others than its own: "name" or "name (version)".
func sourceOf(f map[string]string) (name, version string) {
	name, version, _ = strings.Cut(f["Source"], " ")
	return cmp.Or(name, f["Package"]), cmp.Or(strings.Trim(version, "()"), f["Version"])
}

// fields reads the one-line fields of a control stanza.
func fields(stanza string) map[string]string {
	f := map[string]string{}
	for line := range strings.Lines(stanza) {
		if k, v, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, " ") {
			f[k] = strings.TrimSpace(v)
		}
	}
	return f
}

// snapshotTime is a time at which a snapshot archive has all that the indices
// name: a day after the newest of them. Snapshot archives take Debian's in a few
// times a day, and Debian keeps a replaced package for at least 36 hours more
// (dak's StayOfExecution). The clock of this machine, or of a mirror that lags
// behind, does not matter.
func (a apt) snapshotTime() (string, error) {
	releases, err := filepath.Glob(filepath.Join(a.dir, "state/lists/*Release"))
	if err != nil {
		return "", err
	}
	var newest time.Time
	for _, file := range releases {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		date, err := time.Parse(time.RFC1123, fields(string(b))["Date"])
		if err != nil {
			return "", fmt.Errorf("%s has no date: %w", filepath.Base(file), err)
		}
		if date.After(newest) {
			newest = date
		}
	}
	return newest.Add(24 * time.Hour).UTC().Format("20060102T150405Z"), nil
}

// The archives that a package may come from.
const (
	ArchiveSecurity = "security"
	ArchiveUpdates  = "updates" // what cannot wait for the next point release
	ArchiveMain     = "main"
)

// archives says which archive each package of a lock comes from, by spec.
func (a apt) archives(ctx context.Context, lock Lock) (map[string]string, error) {
	archives, args := map[string]string{}, []string{"policy"}
	for _, packages := range lock.Trees {
		for _, p := range packages {
			archives[p.spec()] = archiveOf(p)
			args = append(args, p.Name)
		}
	}
	out, err := a.run(ctx, "apt-cache", args...)
	if err != nil {
		return nil, err
	}
	for spec, suites := range parsePolicy(out) {
		if archives[spec] == ArchiveMain && !slices.Contains(suites, a.suite) && slices.Contains(suites, a.suite+"-updates") {
			archives[spec] = ArchiveUpdates
		}
	}
	return archives, nil
}

// archiveOf goes by the path alone, which does not tell main from updates.
func archiveOf(p Package) string {
	if strings.HasPrefix(p.Path, "debian-security/") {
		return ArchiveSecurity
	}
	return ArchiveMain
}

// parsePolicy reads the version tables of "apt-cache policy": the suites that
// have a package's version, by its spec.
func parsePolicy(out string) map[string][]string {
	suites := map[string][]string{}
	var name, spec string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		switch {
		case len(f) == 1 && !strings.HasPrefix(line, " "):
			name, spec = strings.TrimSuffix(f[0], ":"), ""
		case len(f) == 2 && strings.HasPrefix(line, "     ") && !strings.HasPrefix(line, "      "):
			spec = name + "=" + f[0]
		case len(f) > 2 && strings.HasPrefix(line, "        ") && spec != "":
			suite, _, _ := strings.Cut(f[2], "/")
			suites[spec] = append(suites[spec], suite)
		}
	}
	return suites
}

// lastLines is the end of a program's output, where the cause is.
func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// CandidateSources are the versions of source packages that a new lock would
// take, for binary packages by name: from the mirror, empty is the default.
// Packages that the archive no longer has are left out.
func CandidateSources(ctx context.Context, mirror, suite string, names []string) (map[string]string, error) {
	dir, err := os.MkdirTemp("", "ingot-apt-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	a := apt{dir: dir, mirror: strings.TrimSuffix(cmp.Or(mirror, DefaultMirror), "/"), suite: suite, keyring: keyring}
	if err := a.update(ctx); err != nil {
		return nil, err
	}
	out, err := a.run(ctx, "apt-cache", append([]string{"show", "--no-all-versions"}, names...)...)
	if err != nil {
		return nil, err
	}
	return candidates(out), nil
}

// candidates are the source packages in the output of "apt-cache show".
func candidates(out string) map[string]string {
	sources := map[string]string{}
	for stanza := range strings.SplitSeq(out, "\n\n") {
		if f := fields(stanza); f["Package"] != "" {
			c := sbom.Component{Arch: f["Architecture"], Version: f["Version"]}
			c.Source, c.SourceVersion = sourceOf(f)
			name, version := c.Origin()
			// Of one that has left a source, an older version may still be there.
			if before, known := sources[name]; !known || compareVersions(before, version) < 0 {
				sources[name] = version
			}
		}
	}
	return sources
}
