package compose

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"

	"ingot/layers/vpn"
)

// nameShape is what Podman takes for the name of a container.
const nameShape = `^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`

// service turns one service into a unit.
type service struct {
	*translator
	types.ServiceConfig
	unit *unit
}

func (t *translator) service(c types.ServiceConfig) {
	s := service{t, c, newUnit("Unit", "Container", "Service", "Install")}
	if s.replaced(s.Name) {
		s.ports()
		return
	}
	s.unit.add("Unit", "Description", "Container "+plain(s.Name))
	s.names()
	s.dependencies()
	s.image()
	s.privileges()
	s.process()
	s.network()
	s.mounts()
	s.health()
	s.resources()
	policy := s.restart()
	wanted := "multi-user.target"
	if s.inVPN(s.Name) {
		wanted += " " + vpn.NamespaceUnit // which it ends with, and comes back with
	}
	s.unit.add("Install", "WantedBy", wanted)
	oneshot := s.waitedFor(types.ServiceConditionCompletedSuccessfully)
	s.out.Services = append(s.out.Services, Service{
		Name: s.Name, Container: cmp.Or(s.ContainerName, s.Name), Unit: UnitName(s.Name) + ".service",
		Oneshot: oneshot, Stays: oneshot || policy != "no",
	})
	s.out.Quadlets = append(s.out.Quadlets, File{UnitName(s.Name) + ".container", s.unit.String(), "the container " + s.Name})
}

func (s service) container(key, value string) { s.unit.set("Container", key, value) }

func (s service) wrong(message, advice string, key ...any) {
	s.translator.wrong(s.Name, message, advice, key...)
}

func (s service) remark(message, advice string, key ...any) {
	s.translator.remark(s.Name, message, advice, key...)
}

func (s service) allowed(what, message, advice string, key ...any) bool {
	return s.translator.allowed(s.Name, what, message, advice, key...)
}

func (s service) has(key ...any) bool { return s.project.has(s.Name, key...) }

// line reports a value that does not fit into a line of a unit.
func (s service) line(value string, key ...any) bool {
	if unfit(value) {
		s.wrong("the value is more than one line, or has blanks at its ends", "write it as one line", key...)
		return false
	}
	return true
}

func (s service) names() {
	name := cmp.Or(s.ContainerName, s.Name)
	if !regexp.MustCompile(nameShape).MatchString(name) {
		s.wrong(fmt.Sprintf("%q cannot be the name of a container", clip(name)), "begin it with a letter or a digit", "container_name")
	}
	for other, c := range s.project.Model.Services {
		if other != s.Name && cmp.Or(c.ContainerName, other) == name {
			s.wrong(fmt.Sprintf("two containers are called %q", clip(name)), "give them different names", "container_name")
		}
	}
	s.container("ContainerName", name)
	if s.Hostname != "" {
		if !regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`).MatchString(s.Hostname) {
			s.wrong(fmt.Sprintf("%q is not a host name", clip(s.Hostname)), "use letters, digits, dots and dashes", "hostname")
		}
		s.container("HostName", s.Hostname)
	}
	if n := s.GetScale(); n != 1 {
		key := []any{"scale"}
		if !s.has("scale") {
			key = []any{"deploy", "replicas"}
		}
		s.wrong(fmt.Sprintf("%d containers of one service are asked for", n), "write a service for each, or remove it: one is what there is", key...)
	}
	if s.Platform != "" && s.Platform != "linux" && s.Platform != "linux/amd64" {
		s.wrong(fmt.Sprintf("the platform %q is not the machine's", clip(s.Platform)), "use linux/amd64, or remove it", "platform")
	}
}

func (s service) image() {
	if s.Image == "" {
		if s.Build == nil && s.Provider == nil {
			s.wrong("the service has no image", "name one with image")
		}
		return
	}
	name, ok := s.reference(s.Image, "image")
	if !ok {
		return
	}
	s.container("Image", name)
	s.container("Pull", "never")
	switch s.PullPolicy {
	case "", "never":
	case "build":
		s.wrong("images are not built on the way", serviceRules["build"].text, "pull_policy")
	default:
		s.remark("pull_policy is left out", pinned, "pull_policy")
	}
}

// FullName is the reference of an image in full, as units and the store have it.
func FullName(image string) (string, error) {
	ref, err := reference.ParseDockerRef(image)
	if err != nil {
		return "", err
	}
	return ref.String(), nil
}

// reference notes an image and returns its name in full.
func (s service) reference(image string, key ...any) (string, bool) {
	name, err := FullName(image)
	if err != nil {
		s.wrong(fmt.Sprintf("%q is not the name of an image", clip(image)), "write one such as docker.io/library/nginx:1.27", key...)
		return "", false
	}
	if s.images[name] == nil {
		s.images[name] = &Image{Name: name, At: s.project.at(s.Name, "", "", key...)}
	}
	if i := s.images[name]; !slices.Contains(i.Services, s.Name) {
		i.Services = append(i.Services, s.Name)
	}
	return name, true
}

// dependencies are systemd's. A service that is waited for until it is healthy
// says so itself; see [service.health].
func (s service) dependencies() {
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		d := s.DependsOn[name]
		other, exists := s.project.Model.Services[name]
		if !exists {
			continue // in a profile that is off, and not required
		}
		key := []any{"depends_on", name}
		if s.replaced(name) {
			if !s.inVPN(s.Name) {
				s.unit.add("Unit", "Requires", vpn.NamespaceUnit)
				s.unit.add("Unit", "After", vpn.NamespaceUnit+" "+vpn.LinkUnit)
			}
			continue
		}
		if d.Condition == types.ServiceConditionHealthy && !healthy(other) {
			s.wrong(fmt.Sprintf("%s is waited for until it is healthy, and has no healthcheck here", name), "give it a healthcheck with a test, or use the condition service_started", key...)
		}
		kind := "Requires"
		if !d.Required {
			kind = "Wants"
		}
		s.unit.add("Unit", kind, plain(UnitName(name))+".service")
		s.unit.add("Unit", "After", plain(UnitName(name))+".service")
	}
}

// waitedFor reports whether another service waits for a condition of this one.
func (s service) waitedFor(condition string) bool {
	for _, other := range s.project.Model.Services {
		if other.DependsOn[s.Name].Condition == condition && !s.replaced(other.Name) {
			return true
		}
	}
	return false
}

func healthy(c types.ServiceConfig) bool {
	return c.HealthCheck != nil && !c.HealthCheck.Disable && len(c.HealthCheck.Test) > 0 && c.HealthCheck.Test[0] != "NONE"
}

// process is what runs, and what it is given.
func (s service) process() {
	s.command()
	s.environment()
	if s.WorkingDir != "" && s.line(s.WorkingDir, "working_dir") {
		if !path.IsAbs(s.WorkingDir) {
			s.wrong(fmt.Sprintf("%q is not an absolute path", clip(s.WorkingDir)), "write the path from /", "working_dir")
		}
		s.container("WorkingDir", s.WorkingDir)
	}
	if s.Umask != nil {
		s.unit.words("Container", "PodmanArgs", fmt.Sprintf("--umask=%04o", *s.Umask&0o777))
	}
	if s.Init != nil && *s.Init {
		s.container("RunInit", "true")
	}
	if s.StopSignal != "" && s.line(s.StopSignal, "stop_signal") {
		s.container("StopSignal", s.StopSignal)
	}
	if s.StopGracePeriod != nil {
		grace := time.Duration(*s.StopGracePeriod).Seconds()
		s.container("StopTimeout", strconv.Itoa(int(grace)))
		// systemd waits longer than Podman, which ends the container itself.
		s.unit.add("Service", "TimeoutStopSec", seconds(grace+30))
	}
	for kind, labels := range map[string]map[string]string{"Label": s.Labels, "Annotation": s.Annotations} {
		for _, key := range slices.Sorted(maps.Keys(labels)) {
			s.unit.words("Container", kind, key+"="+labels[key])
		}
	}
	if s.Logging != nil && s.Logging.Driver != "" {
		switch s.Logging.Driver {
		case "journald":
		case "none":
			s.container("LogDriver", "none")
		case "json-file", "local":
			s.remark("the log goes into the journal", "read it with journalctl -u "+UnitName(s.Name), "logging", "driver")
		default:
			s.wrong(fmt.Sprintf("the log driver %q is not there", clip(s.Logging.Driver)), "remove it: the journal has every container's output", "logging", "driver")
		}
	}
}

func (s service) command() {
	if s.Entrypoint != nil {
		if len(s.Entrypoint) == 0 {
			s.wrong("an empty entrypoint cannot be translated", "name the program in entrypoint, or remove it", "entrypoint")
		}
		list, _ := json.Marshal([]string(s.Entrypoint)) // of strings: it cannot fail
		s.container("Entrypoint", string(list))
	}
	if s.Command != nil {
		if len(s.Command) == 0 {
			s.wrong("an empty command cannot be translated", "name the command, or remove it", "command")
		}
		s.unit.words("Container", "Exec", s.Command...)
	}
}

// environment joins the files and the mapping; the mapping wins.
func (s service) environment() {
	env := map[string]string{}
	for _, f := range s.EnvFiles {
		at := s.project.item(s.Name, "env_file", f.Path)
		name, ok := local(f.Path)
		if !ok {
			s.wrong(fmt.Sprintf("%q is not in the compose file's folder", clip(f.Path)), "copy the file into the folder", at...)
			continue
		}
		vars, err := s.project.dotenv(name)
		if err != nil {
			if f.Required {
				s.wrong(fmt.Sprintf("the file %q cannot be read: %v", clip(name), err), "write lines of NAME=value into it, or say required: false", at...)
			}
			continue
		}
		maps.Copy(env, vars)
	}
	for name, value := range s.Environment {
		if value == nil {
			if known, ok := s.project.lookup(name); ok {
				value = &known
			} else if _, ok := env[name]; ok {
				continue
			} else {
				s.wrong(fmt.Sprintf("the variable %s has no value here", clip(name)), "write its value; the environment of whoever builds is not read", s.project.item(s.Name, "environment", name)...)
				continue
			}
		}
		env[name] = *value
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		at := s.project.item(s.Name, "environment", name)
		if !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`).MatchString(name) {
			s.wrong(fmt.Sprintf("%q is not the name of a variable", clip(name)), "use letters, digits and underscores", at...)
			continue
		}
		if strings.ContainsFunc(env[name], func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }) {
			s.wrong(fmt.Sprintf("the value of %s holds a control character", name), "write it without", at...)
			continue
		}
		s.unit.words("Container", "Environment", name+"="+env[name])
	}
}

// health: the test is given as JSON, which Podman takes as it is. "CMD" before
// the words is left out: Podman would split the JSON at its blanks.
func (s service) health() {
	h := s.HealthCheck
	if h == nil {
		return
	}
	if h.Disable || len(h.Test) > 0 && h.Test[0] == "NONE" {
		s.container("HealthCmd", "none")
		return
	}
	test := []string(h.Test)
	if len(test) > 0 && test[0] == "CMD" {
		test = test[1:]
	}
	switch {
	case len(test) == 0 && len(h.Test) > 0:
		s.wrong("the healthcheck's test is empty", "write it as [CMD, program, argument]", "healthcheck", "test")
	case len(test) == 1:
		test = []string{"CMD-SHELL", test[0]}
	}
	if len(test) > 0 {
		list, _ := json.Marshal(test)
		s.container("HealthCmd", string(list))
		// A container that is not healthy any more is started anew, as its policy says.
		s.container("HealthOnFailure", "kill")
	}
	span := func(key string, d *types.Duration) time.Duration {
		if d == nil {
			return 0
		}
		s.container(key, seconds(time.Duration(*d).Seconds()))
		return time.Duration(*d)
	}
	interval, timeout := span("HealthInterval", h.Interval), span("HealthTimeout", h.Timeout)
	start := span("HealthStartPeriod", h.StartPeriod)
	retries := uint64(3) // compose's and Podman's
	if h.Retries != nil {
		retries = min(*h.Retries, 1000)
		s.container("HealthRetries", strconv.FormatUint(retries, 10))
	}
	if s.waitedFor(types.ServiceConditionHealthy) && healthy(s.ServiceConfig) {
		s.container("Notify", "healthy")
		if interval == 0 {
			interval = 30 * time.Second // compose's and Podman's
		}
		if timeout == 0 {
			timeout = 30 * time.Second
		}
		most := start + time.Duration(retries+1)*(interval+timeout) + 90*time.Second // 90 s: systemd's default
		s.unit.add("Service", "TimeoutStartSec", seconds(most.Seconds()))
	}
}

// resources: the container is in the unit's control group (--cgroups=split), so
// that systemd's limits hold for it.
func (s service) resources() {
	var limits, reservations types.Resource
	if s.Deploy != nil && s.Deploy.Resources.Limits != nil {
		limits = *s.Deploy.Resources.Limits
	}
	if s.Deploy != nil && s.Deploy.Resources.Reservations != nil {
		reservations = *s.Deploy.Resources.Reservations
	}
	s.memory(max(s.MemLimit, limits.MemoryBytes), max(s.MemReservation, reservations.MemoryBytes))
	s.pids(limits.Pids)
	if percent := s.cpuPercent(float64(limits.NanoCPUs)); percent > 0 {
		s.unit.add("Service", "CPUQuota", strconv.FormatFloat(percent, 'f', -1, 64)+"%")
	}
	if s.CPUShares > 0 {
		// From 2…262144 to 1…10000, as the OCI runtimes do for cgroup v2.
		s.unit.add("Service", "CPUWeight", strconv.FormatInt(1+(min(max(s.CPUShares, 2), 262144)-2)*9999/262142, 10))
	}
	if s.CPUSet != "" {
		if !regexp.MustCompile(`^[0-9]+([,-][0-9]+)*$`).MatchString(s.CPUSet) {
			s.wrong(fmt.Sprintf("%q is not a list of processors", clip(s.CPUSet)), "write one such as 0-1,3", "cpuset")
		}
		s.unit.add("Service", "AllowedCPUs", s.CPUSet)
	}
	if b := s.BlkioConfig; b != nil && b.Weight > 0 {
		s.unit.add("Service", "IOWeight", strconv.Itoa(min(int(b.Weight)*10, 10000))) // 10…1000 there, 1…10000 here
	}
	if s.OomScoreAdj != 0 {
		if s.OomScoreAdj < 0 || s.OomScoreAdj > 1000 {
			s.wrong(fmt.Sprintf("%d would have the kernel end the machine's own services first", s.OomScoreAdj), "use 0 to 1000", "oom_score_adj")
		}
		s.unit.words("Container", "PodmanArgs", "--oom-score-adj="+strconv.FormatInt(s.OomScoreAdj, 10))
	}
	if s.ShmSize > 0 {
		s.container("ShmSize", strconv.FormatInt(int64(s.ShmSize), 10))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Ulimits)) {
		u := s.Ulimits[name]
		soft, hard := u.Soft, u.Hard
		if u.Single != 0 {
			soft, hard = u.Single, u.Single
		}
		if !regexp.MustCompile(`^[a-z]+$`).MatchString(name) {
			s.wrong(fmt.Sprintf("%q is not a limit", clip(name)), "use one such as nofile or nproc", "ulimits", name)
			continue
		}
		s.container("Ulimit", fmt.Sprintf("%s=%d:%d", name, soft, hard))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Sysctls)) {
		if !strings.HasPrefix(name, "net.") && !strings.HasPrefix(name, "kernel.shm") && !strings.HasPrefix(name, "kernel.msg") && name != "kernel.sem" && !strings.HasPrefix(name, "fs.mqueue.") {
			s.wrong(fmt.Sprintf("the sysctl %s is the whole machine's", clip(name)), "set it with the layer sysctl", s.project.item(s.Name, "sysctls", name)...)
			continue
		}
		if s.inVPN(s.Name) && strings.HasPrefix(name, "net.") {
			s.wrong(fmt.Sprintf("the sysctl %s is the whole VPN namespace's", clip(name)), "remove it", s.project.item(s.Name, "sysctls", name)...)
			continue
		}
		s.unit.words("Container", "Sysctl", name+"="+s.Sysctls[name])
	}
}

func (s service) memory(limit, reserve types.UnitBytes) {
	switch {
	case limit > 0:
	case s.has("mem_limit") || s.has("deploy", "resources", "limits", "memory"):
		key := []any{"mem_limit"}
		if !s.has(key...) {
			key = []any{"deploy", "resources", "limits", "memory"}
		}
		if s.allowed("mem_limit", "the container may use all of the machine's memory", "write a limit such as 512m", key...) {
			limit = -1
		}
	default:
		limit = DefaultMemory
	}
	if limit > 0 {
		s.unit.add("Service", "MemoryMax", strconv.FormatInt(int64(limit), 10))
	}
	if reserve > 0 {
		s.unit.add("Service", "MemoryLow", strconv.FormatInt(int64(reserve), 10))
	}
	switch swap := s.MemSwapLimit; {
	case swap > 0 && limit > 0 && swap < limit:
		s.wrong("memswap_limit is memory and swap together, and smaller than the memory", "write a larger one", "memswap_limit")
	case swap > 0 && limit > 0:
		s.unit.add("Service", "MemorySwapMax", strconv.FormatInt(int64(swap-limit), 10))
	}
}

func (s service) pids(deployed int64) {
	limit := s.PidsLimit
	if limit == 0 {
		limit = deployed
	}
	if limit <= 0 && (s.has("pids_limit") || s.has("deploy", "resources", "limits", "pids")) {
		if s.allowed("pids_limit", "the container may start processes without end", "write a limit such as 512", "pids_limit") {
			s.container("PidsLimit", "-1")
			return
		}
	}
	if limit <= 0 {
		limit = DefaultPids
	}
	s.container("PidsLimit", strconv.FormatInt(limit, 10))
}

func (s service) cpuPercent(deployed float64) float64 {
	switch {
	case s.CPUS > 0:
		return round(float64(s.CPUS) * 100)
	case deployed > 0:
		return round(deployed * 100)
	case s.CPUQuota > 0:
		period := s.CPUPeriod
		if period <= 0 {
			period = 100_000 // µs, the kernel's
		}
		return round(float64(s.CPUQuota) / float64(period) * 100)
	}
	return 0
}

// round keeps whole percents, which is what systemd takes, and never 0.
func round(percent float64) float64 { return max(float64(int(percent+0.5)), 1) }

// restart is the policy, which it returns; without one a container that ends stays
// ended, as in Compose.
func (s service) restart() (policy string) {
	policy = "no"
	attempts, delay, window := uint64(0), 2*time.Second, time.Duration(0)
	switch name, count, _ := strings.Cut(s.Restart, ":"); name {
	case "", "no":
	case "always", "unless-stopped":
		policy = "always"
	case "on-failure":
		policy = "on-failure"
		if n, err := strconv.ParseUint(count, 10, 16); count != "" && err == nil {
			attempts = n
		}
	default:
		s.wrong(fmt.Sprintf("%q is not a restart policy", clip(s.Restart)), "use no, always, on-failure or unless-stopped", "restart")
	}
	if s.Deploy != nil && s.Deploy.RestartPolicy != nil {
		r := s.Deploy.RestartPolicy
		switch r.Condition {
		case "none":
			policy = "no"
		case "on-failure":
			policy = "on-failure"
		case "", "any":
			policy = "always"
		default:
			s.wrong(fmt.Sprintf("%q is not a condition of a restart", clip(r.Condition)), "use none, on-failure or any", "deploy", "restart_policy", "condition")
		}
		if r.Delay != nil {
			delay = time.Duration(*r.Delay)
		}
		if r.Window != nil {
			window = time.Duration(*r.Window)
		}
		if r.MaxAttempts != nil {
			attempts = *r.MaxAttempts
		}
	}
	if s.waitedFor(types.ServiceConditionCompletedSuccessfully) {
		// Others wait for its end: systemd's oneshot.
		if policy == "always" {
			s.wrong("others wait for this service to end, and it is to be restarted always", "use restart: on-failure, or remove it", "restart")
			policy = "no"
		}
		s.unit.add("Service", "Type", "oneshot")
		s.unit.add("Service", "RemainAfterExit", "yes")
	}
	s.unit.add("Service", "Restart", policy)
	if policy == "no" {
		return policy
	}
	s.unit.add("Service", "RestartSec", seconds(delay.Seconds()))
	if attempts == 0 {
		// systemd's default gives up after five starts in ten seconds.
		s.unit.add("Unit", "StartLimitIntervalSec", "0")
		return policy
	}
	s.unit.add("Unit", "StartLimitBurst", strconv.FormatUint(attempts+1, 10))
	if window == 0 {
		window = 24 * time.Hour
	}
	s.unit.add("Unit", "StartLimitIntervalSec", seconds(window.Seconds()))
	return policy
}
