package openstack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// service is one of the cloud's, by its program's name and that in the catalog.
type service struct {
	name, kind, path string
	port             int
}

// The services of the cloud, in the order in which they start.
var services = []service{
	{"keystone", "", "", 5000},
	{"glance", "image", "", 9292},
	{"neutron", "network", "", 9696},
	{"placement", "placement", "", 8778},
	{"nova", "compute", "/v2.1", 8774},
	{"cinder", "volumev3", "/v3", 8776},
}

// insideVar tells the test program that it is in a network of its own.
const insideVar = "INGOT_TEST_OPENSTACK_NETWORK"

// TestMain runs the tests in a network namespace with nothing but a loopback: the
// services have their usual ports there, and nobody else.
func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() || !*wanted || os.Getenv(insideVar) != "" || missingPackages() != "" {
		if os.Getenv(insideVar) != "" {
			// Tests without the cloud listen there, too.
			if err := loopbackUp(); err != nil {
				fmt.Fprintln(os.Stderr, "the loopback of the network namespace cannot be used:", err)
				os.Exit(1)
			}
		}
		status := m.Run()
		running.stop()
		os.Exit(status)
	}
	// What is in it goes even when the process inside is killed.
	dir, err := os.MkdirTemp("", "ingot-openstack-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	signal.Ignore(os.Interrupt) // for the process inside, which ends then
	program, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cmd := exec.Command(program, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVar+"=yes", "TMPDIR="+dir)
	// A namespace of processes, too: what the services have started ends with it,
	// whatever happens.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	err = errors.Join(cmd.Run(), os.RemoveAll(dir))
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "the tests could not be run in a network namespace:", err)
		os.Exit(1)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

func loopbackUp() error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(loopback)
}

// missingPackages names Debian's packages that are not here.
func missingPackages() string {
	return missing(map[string]string{
		"keystone": "python3-keystone", "glance": "python3-glance", "neutron": "python3-neutron",
		"nova": "python3-nova", "placement": "python3-placement", "cinder": "python3-cinder", "openstackclient": "python3-openstackclient",
	})
}

// missing names the packages of Python modules, or of other files, that are not here.
func missing(packages map[string]string) string {
	var names []string
	for file, name := range packages {
		if !filepath.IsAbs(file) {
			file = filepath.Join("/usr/lib/python3/dist-packages", file)
		}
		if _, err := os.Stat(file); err != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

var wanted = flag.Bool("cloud", false, "start the services of a cloud and test with them")

// cloud is a running one.
type cloud struct {
	dir      string
	children []*exec.Cmd
	once     sync.Once
	err      error

	alarming alarming
}

var running cloud

// startTimeout is for all services together: 30 s on two idle cores.
const startTimeout = 5 * time.Minute

// needCloud starts the cloud for the first test that needs it, and skips those when
// that is not possible here.
func needCloud(t *testing.T) *cloud {
	t.Helper()
	if !*wanted {
		t.Skip("it needs a cloud of Debian's services, which takes minutes and packages that setup.sh does not install; make openstack runs it")
	}
	if testing.Short() {
		t.Skip("a cloud of one's own takes half a minute to start; run without -short")
	}
	if missing := missingPackages(); missing != "" {
		t.Skip("the services are not installed; apt-get install --no-install-recommends " + missing)
	}
	running.once.Do(func() { running.err = running.start() })
	if running.err != nil {
		t.Fatal(running.err)
	}
	return &running
}

func (c *cloud) start() (err error) {
	began := time.Now()
	if c.dir, err = os.MkdirTemp("", "cloud-"); err != nil {
		return err
	}
	if err := c.configure(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var ready []chan error
	for _, s := range services {
		ready = append(ready, c.serve(ctx, s.name, s.port))
		if s.name == "keystone" {
			if err := <-ready[len(ready)-1]; err != nil {
				return err
			}
			ready = ready[:len(ready)-1]
		}
		if s.name == "keystone" {
			if err := c.seedIdentity(ctx); err != nil {
				return fmt.Errorf("fill keystone: %w", err)
			}
		}
	}
	for _, one := range ready {
		err = errors.Join(err, <-one)
	}
	if err == nil {
		err = c.seed(ctx)
	}
	fmt.Fprintf(os.Stderr, "the cloud was ready after %.0f s\n", time.Since(began).Seconds())
	return err
}

// configure copies the configuration to where the services keep their things.
func (c *cloud) configure() error {
	for _, dir := range []string{"lock", "images", "tasks", "staging", "conversion", "coordination", "volumes", "measures", "postgres"} {
		if err := os.Mkdir(filepath.Join(c.dir, dir), 0o700); err != nil {
			return err
		}
	}
	files, err := filepath.Glob("testdata/cloud/*.*")
	if err != nil {
		return err
	}
	common, err := os.ReadFile("testdata/cloud/authtoken.conf")
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if strings.HasSuffix(file, ".conf") {
			text = append(text, common...)
		}
		text = bytes.ReplaceAll(text, []byte("$DIR"), []byte(c.dir))
		if err := os.WriteFile(filepath.Join(c.dir, filepath.Base(file)), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// serve starts a service and says when it answers.
func (c *cloud) serve(ctx context.Context, name string, port int) chan error {
	ready := make(chan error, 1)
	out, err := os.Create(filepath.Join(c.dir, name+".out"))
	if err != nil {
		ready <- err
		return ready
	}
	defer out.Close()
	cmd := exec.Command("/usr/bin/python3", filepath.Join(c.dir, "serve.py"), name, c.dir, fmt.Sprint(port))
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, out, out
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + c.dir, "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		ready <- err
		return ready
	}
	c.children = append(c.children, cmd)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	go func() {
		for {
			response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
			if err == nil {
				response.Body.Close()
				ready <- nil
				return
			}
			select {
			case err := <-ended:
				ready <- fmt.Errorf("%s has ended: %w\n%s", name, err, c.log(name))
				return
			case <-ctx.Done():
				ready <- fmt.Errorf("%s does not answer\n%s", name, c.log(name))
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return ready
}

// log is the end of what a service has written.
func (c *cloud) log(name string) string {
	var all []byte
	for _, suffix := range []string{".log", ".out"} {
		text, _ := os.ReadFile(filepath.Join(c.dir, name+suffix))
		all = append(all, text[max(0, len(text)-3000):]...)
	}
	return string(all)
}

// stop ends the services by their ids, with what they have started.
func (c *cloud) stop() {
	for _, child := range c.children {
		_ = syscall.Kill(-child.Process.Pid, syscall.SIGKILL)
	}
	for _, child := range c.children {
		for child.ProcessState == nil && syscall.Kill(child.Process.Pid, 0) == nil {
			time.Sleep(10 * time.Millisecond) // serve's Wait reaps it
		}
	}
}

// client runs Debian's openstackclient as one of the users and reads its JSON.
func (c *cloud) client(t *testing.T, user string, into any, args ...string) {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", append([]string{"/usr/bin/openstack"}, append(args, "-f", "json")...)...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + c.dir, "LANG=C.UTF-8", "OS_CLOUD=" + user, "OS_CLIENT_CONFIG_FILE=" + c.cloudsFile()}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openstack %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("openstack %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (c *cloud) cloudsFile() string { return filepath.Join(c.dir, "clouds.yaml") }
