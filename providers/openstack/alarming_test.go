package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	sdk "github.com/gophercloud/gophercloud/v2/openstack"
)

// alarming is the part of a cloud that measures and watches, started for the tests
// that need it: Gnocchi keeps what is measured in PostgreSQL, and Aodh looks at it
// every two seconds. Nobody measures: the tests write what Ceilometer would.
type alarming struct {
	once    sync.Once
	err     error
	metrics *gophercloud.ServiceClient // Gnocchi's, as the one who measures
}

const postgres = "/usr/lib/postgresql/15/bin/"

// needAlarming starts it.
func needAlarming(t *testing.T) *cloud {
	t.Helper()
	c := needCloud(t)
	if missing := missing(map[string]string{
		"aodh": "python3-aodh", "aodhclient": "python3-aodhclient", "gnocchi": "python3-gnocchi", postgres + "postgres": "postgresql-15",
	}); missing != "" {
		t.Skip("the services that watch are not installed; apt-get install --no-install-recommends " + missing)
	}
	c.alarming.once.Do(func() { c.alarming.err = c.startAlarming() })
	if c.alarming.err != nil {
		t.Fatal(c.alarming.err)
	}
	return c
}

func (c *cloud) startAlarming() error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	admin, err := as(ctx, "admin", "admin-password", "admin")
	if err != nil {
		return err
	}
	keystone, err := sdk.NewIdentityV3(admin, here)
	if err != nil {
		return err
	}
	if err := c.servePostgres(ctx); err != nil {
		return err
	}
	var ready []chan error
	for _, s := range []service{{"gnocchi", "metric", "", 8041}, {"aodh", "alarming", "", 8042}} {
		if err := s.offer(ctx, keystone); err != nil {
			return err
		}
		ready = append(ready, c.serve(ctx, s.name, s.port))
	}
	for _, one := range ready {
		err = errors.Join(err, <-one)
	}
	if err != nil {
		return err
	}
	c.alarming.metrics = gnocchiClient(admin)
	err = c.seedMetrics(ctx)
	fmt.Fprintf(os.Stderr, "the services that watch were ready after %.0f s\n", time.Since(began).Seconds())
	return err
}

// gnocchiClient is for the one who measures.
func gnocchiClient(admin *gophercloud.ProviderClient) *gophercloud.ServiceClient {
	return &gophercloud.ServiceClient{ProviderClient: admin, Endpoint: "http://127.0.0.1:8041/v1/"}
}

// nobody is a user that Debian has anywhere, and PostgreSQL refuses to be root.
const nobody = "65534"

// asNobody runs a program of PostgreSQL's as nobody, to whom belongs what is this
// process's: in a user namespace, so that it does not matter who this process is.
// Package syscall could not make it: it looks for the child in /proc, which is that of
// another namespace of processes.
func (c *cloud) asNobody(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/usr/bin/unshare", append([]string{"--user", "--map-user=" + nobody, "--map-group=" + nobody, "--", postgres + name}, args...)...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// servePostgres starts a server that only its socket in the folder leads to.
func (c *cloud) servePostgres(ctx context.Context) error {
	data, socket := filepath.Join(c.dir, "postgres", "data"), filepath.Join(c.dir, "postgres")
	if out, err := c.asNobody("initdb", "-D", data, "-A", "trust", "-U", "nobody", "--no-sync").CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	out, err := os.Create(filepath.Join(c.dir, "postgres.out"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := c.asNobody("postgres", "-D", data, "-k", socket, "-c", "listen_addresses=", "-c", "fsync=off")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	c.children = append(c.children, cmd)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if c.asNobody("pg_isready", "-q", "-h", socket, "-d", "postgres").Run() == nil {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("postgres has ended: %w\n%s", err, c.log("postgres"))
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer\n%s", c.log("postgres"))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// seedMetrics makes what ceilometer-upgrade makes: the kinds of resources and how long
// what is kept, by its gnocchi_client.py and gnocchi_resources.yaml.
func (c *cloud) seedMetrics(ctx context.Context) error {
	text := func(required bool) map[string]any {
		return map[string]any{"type": "string", "min_length": 0, "max_length": 255, "required": required}
	}
	uuid := map[string]any{"type": "uuid", "required": true}
	kept := []map[string]any{{"granularity": "300 seconds", "timespan": "30 days"}}
	for _, one := range []struct {
		path string
		body map[string]any
	}{
		{"resource_type", map[string]any{"name": ofInstance, "attributes": map[string]any{"flavor_id": text(true), "host": text(true), "display_name": text(true)}}},
		{"resource_type", map[string]any{"name": ofInterfaces, "attributes": map[string]any{"name": text(true), "instance_id": uuid}}},
		{"archive_policy", map[string]any{"name": "ceilometer-low", "back_window": 0, "aggregation_methods": []string{"mean"}, "definition": kept}},
		{"archive_policy", map[string]any{"name": "ceilometer-low-rate", "back_window": 0, "aggregation_methods": []string{"mean", "rate:mean"}, "definition": kept}},
	} {
		if err := c.measure(ctx, http.MethodPost, one.path, one.body, nil); err != nil {
			return fmt.Errorf("make the %s %s: %w", one.path, one.body["name"], err)
		}
	}
	return nil
}

// measure asks something of Gnocchi.
func (c *cloud) measure(ctx context.Context, method, path string, body, into any) error {
	_, err := c.alarming.metrics.Request(ctx, method, c.alarming.metrics.ServiceURL(path), &gophercloud.RequestOpts{
		JSONBody: body, JSONResponse: into, OkCodes: []int{http.StatusOK, http.StatusCreated, http.StatusAccepted},
	})
	return err
}
