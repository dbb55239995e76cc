package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ossf/osv-schema/bindings/go/osvschema"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"
	"osv.dev/bindings/go/api"
	"osv.dev/bindings/go/osvdev"

	"ingot/fault"
)

// API asks OSV's service: which vulnerabilities a version has is for the service
// to say.
type API struct {
	URL string // empty is the public service
	// Wait is the pause before the first second try; the others double it. 0 is a
	// second.
	Wait time.Duration
}

const (
	tries    = 4
	maxWait  = time.Minute       // that a Retry-After may ask for
	maxReply = 64 << 20          // bytes
	parallel = 8                 // records asked for at once
	oneReply = 60 * time.Second  // for a reply, from the first byte sent
	agent    = "ingot (scanner)" // so that the service knows whom to complain to
)

// Affecting implements [Database].
func (a API) Affecting(ctx context.Context, targets []Target) ([][]*osvschema.Vulnerability, error) {
	records, err := a.affecting(ctx, targets)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	// The library says how often it tried, which it did not: see patient.
	if request := (*url.Error)(nil); errors.As(err, &request) {
		err = request
	}
	if err != nil {
		return nil, fault.Machine(fmt.Errorf("OSV's service did not say what is known: %w; try again later, or give a copy of its database with --offline", err))
	}
	return records, nil
}

func (a API) affecting(ctx context.Context, targets []Target) ([][]*osvschema.Vulnerability, error) {
	client := osvdev.DefaultClient()
	client.HTTPClient = &http.Client{Transport: patient{http.DefaultTransport, a.Wait}}
	client.Config.MaxRetryAttempts = 1 // patient tries again, and an interrupt ends that
	client.Config.UserAgent = agent
	if a.URL != "" {
		client.BaseHostURL = a.URL
	}
	ids, err := names(ctx, client, targets)
	if err != nil {
		return nil, err
	}
	records := map[string]*osvschema.Vulnerability{}
	for _, id := range slices.Concat(ids...) {
		records[id] = nil
	}
	if err := a.fetch(ctx, client, records); err != nil {
		return nil, err
	}
	list := make([][]*osvschema.Vulnerability, len(targets))
	for i := range targets {
		for _, id := range joined(ids[i], nil) {
			if full := records[id]; full.GetWithdrawn() == nil {
				list[i] = append(list[i], full)
			}
		}
	}
	return list, nil
}

// maxPages is far beyond what the service needs: a page has some thousand names.
const maxPages = 100

// names are those of the vulnerabilities of each target, of all pages. Not by
// osvdevexperimental.BatchQueryPaging: an answer with too many results makes that
// crash, in one with too few it misses some, and in pages without end it stays.
func names(ctx context.Context, client *osvdev.OSVClient, targets []Target) ([][]string, error) {
	ids := make([][]string, len(targets))
	var queries []*api.Query
	var asker []int // the targets of the queries
	for i, t := range targets {
		queries, asker = append(queries, &api.Query{
			Package: &osvschema.Package{Name: t.Name, Ecosystem: t.Ecosystem},
			Param:   &api.Query_Version{Version: t.Version},
		}), append(asker, i)
	}
	for range maxPages {
		answer, err := client.QueryBatch(ctx, queries)
		if err != nil {
			return nil, err
		}
		results := answer.GetResults()
		if len(results) != len(queries) {
			return nil, fmt.Errorf("it answered %d of %d questions", len(results), len(queries))
		}
		var more []*api.Query
		var of []int
		for n, r := range results {
			for _, v := range r.GetVulns() {
				if !identifier.MatchString(v.GetId()) {
					return nil, fmt.Errorf("it named a vulnerability %q, which is no name", v.GetId())
				}
				ids[asker[n]] = append(ids[asker[n]], v.GetId())
			}
			if token := r.GetNextPageToken(); token != "" {
				queries[n].PageToken = token
				more, of = append(more, queries[n]), append(of, asker[n])
			}
		}
		if len(more) == 0 {
			return ids, nil
		}
		queries, asker = more, of
	}
	return nil, fmt.Errorf("its answer has more than %d pages", maxPages)
}

// fetch fills in the records.
func (a API) fetch(ctx context.Context, client *osvdev.OSVClient, records map[string]*osvschema.Vulnerability) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	var mu sync.Mutex
	ids := make([]string, 0, len(records))
	for id := range records {
		ids = append(ids, id)
	}
	for _, id := range ids {
		group.Go(func() error {
			v, err := record(ctx, client, id)
			if err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			mu.Lock()
			defer mu.Unlock()
			records[id] = v
			return nil
		})
	}
	return group.Wait()
}

// record is GetVulnByID of the library, which takes a field that is new in OSV's
// schema for an error: a scan must not fail on the day that one appears.
func record(ctx context.Context, client *osvdev.OSVClient, id string) (*osvschema.Vulnerability, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, client.BaseHostURL+osvdev.GetEndpoint+"/"+url.PathEscape(id), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", client.Config.UserAgent)
	resp, err := client.HTTPClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", resp.Status)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	v, err := decode(text)
	if err == nil && v.GetId() != id {
		err = fmt.Errorf("the answer is about %q", v.GetId())
	}
	return v, err
}

func decode(text []byte) (*osvschema.Vulnerability, error) {
	v := &osvschema.Vulnerability{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, v); err != nil {
		return nil, fmt.Errorf("this is no record of OSV's: %w", err)
	}
	return v, nil
}

// patient is a transport that tries again when the service is busy or has a
// fault, and waits as long as the service asks for.
type patient struct {
	next http.RoundTripper
	wait time.Duration
}

// RoundTrip implements [http.RoundTripper].
func (p patient) RoundTrip(req *http.Request) (*http.Response, error) {
	pause := p.wait
	if pause == 0 {
		pause = time.Second
	}
	for try := 1; ; try++ {
		resp, err := p.once(req)
		again := err != nil || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError
		if name := (*net.DNSError)(nil); errors.As(err, &name) && name.IsNotFound {
			again = false // no network, most likely
		}
		if !again || try == tries || req.Context().Err() != nil {
			return resp, err
		}
		wait := pause << (try - 1)
		if err == nil {
			wait = max(wait, retryAfter(resp))
			resp.Body.Close()
		}
		select {
		case <-req.Context().Done():
			return nil, req.Context().Err()
		case <-time.After(wait):
		}
	}
}

func (p patient) once(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), oneReply)
	req = req.Clone(ctx)
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			cancel()
			return nil, err
		}
		req.Body = body
	}
	resp, err := p.next.RoundTrip(req)
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: maxReply, cancel: cancel}
	return resp, nil
}

// retryAfter is how long a service asks to wait, in seconds: RFC 9110 §10.2.3
// has dates, too, which OSV does not send.
func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxWait)
}

// bounded is the body of a reply, which the library reads to its end.
type bounded struct {
	io.ReadCloser
	left   int64
	cancel context.CancelFunc
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the answer is too long")
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (b *bounded) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}
