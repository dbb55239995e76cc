package openstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"ingot/fault"
	"ingot/providers"
)

// A rule that neutron has got from us reads as what it was.
func TestRules(t *testing.T) {
	t.Parallel()
	p := &Provider{}
	v4, v6 := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("::/0")
	for _, r := range []providers.Rule{
		{Proto: "tcp", From: 443, To: 443, Source: v4, Why: "HTTPS"},
		{Proto: "udp", From: 1, To: 65535, Source: v6, Why: "all"},
		{Proto: "icmp", From: 0, To: 0, Source: v4},
		{Proto: "icmp", From: 8, To: 8, Source: v4, Why: "[ingot]"},
		{Proto: "icmp", From: -1, To: -1, Source: v4, Why: "all"},
		{Proto: "icmpv6", From: 128, To: 128, Source: v6, Why: "ping"},
		{Proto: "icmpv6", From: -1, To: -1, Source: v6, Why: "all"},
	} {
		i := p.installed(ruleOf("g", r))
		if !i.Owned || i.Opaque != "" || i.Rule != r {
			t.Errorf("%+v became %+v", r, i)
		}
	}
}

// What Ingot has no word for is shown in neutron's, and is never ours by chance.
func TestOpaqueRules(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	number := func(n int) *int { return &n }
	p := &Provider{}
	for _, test := range []struct {
		rule rule
		want string // opaque or not
	}{
		{rule{EtherType: "IPv4"}, "IPv4 any protocol from anywhere"},
		{rule{EtherType: "IPv6", Protocol: text("tcp"), Min: number(1), Max: number(2), RemoteGroup: text("g")}, "IPv6 tcp 1 2 from members of the group g"},
		{rule{EtherType: "IPv4", Protocol: text("tcp"), RemoteAddress: text("a")}, "IPv4 tcp from the address group a"},
		{rule{EtherType: "IPv4", Protocol: text("icmp"), Min: number(3), Max: number(4)}, "IPv4 icmp 3 4 from anywhere"},
		{rule{EtherType: "IPv6", Protocol: text("icmp"), Prefix: text("::/0")}, "IPv6 icmp from ::/0"},
		{rule{EtherType: "IPv4", Protocol: text("vrrp")}, "IPv4 vrrp from anywhere"},
		{rule{EtherType: "IPv4", Protocol: text("tcp"), Prefix: text("nonsense")}, "IPv4 tcp from nonsense"},
		{rule{EtherType: "IPv4", Protocol: text("6")}, "tcp 1 to 65535 from 0.0.0.0/0"},
		{rule{EtherType: "IPv6", Protocol: text("58")}, "icmpv6 from ::/0"},
		{rule{EtherType: "IPv4", Protocol: text("udp"), Min: number(53), Max: number(53), Prefix: text("192.0.2.7/24")}, "udp 53 from 192.0.2.0/24"},
	} {
		if i := p.installed(test.rule); i.String() != test.want || i.Owned || i.Opaque != "" && i.Rule != (providers.Rule{}) {
			t.Errorf("%+v is shown as %q, %+v", test.rule, i, i)
		}
	}
}

// A keystone that quotes what it did not like, in its own words or in its headers.
func TestErrorsHideSecrets(t *testing.T) {
	const password = "correct-horse-battery"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Quoted", password)
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error": {"code": 400, "message": %q}}`, "Invalid input: "+string(body))
	}))
	defer server.Close()
	environment(t, map[string]string{"OS_AUTH_URL": server.URL + "/v3", "OS_PASSWORD": password})
	_, err := New(t.Context(), Options{})
	if fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "Invalid input") {
		t.Fatal(err)
	}
	var sdk gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &sdk) {
		t.Error("the SDK's error can be had, with all that was sent and answered")
	}
	if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, password) {
		t.Error(text)
	}
}

// Work that is interrupted for a reason of its own (a signal) is interrupted.
func TestCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel(errors.New("SIGINT"))
		<-r.Context().Done()
	}))
	defer server.Close()
	environment(t, map[string]string{"OS_AUTH_URL": server.URL + "/v3"})
	if _, err := New(ctx, Options{}); !errors.Is(err, context.Canceled) || fault.Of(err) != fault.Unknown {
		t.Errorf("%v, of kind %v", err, fault.Of(err))
	}
}

func TestAwait(t *testing.T) {
	t.Parallel()
	p := &Provider{poll: time.Millisecond}
	never := func(ctx context.Context) (bool, error) { return false, ctx.Err() }
	if err := p.await(t.Context(), "it", 5*time.Millisecond, never); fault.Of(err) != fault.OfProvider || !strings.Contains(err.Error(), "it takes more than 5ms") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("SIGINT"))
	if err := p.await(ctx, "it", time.Hour, never); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	p := &Provider{hide: &scrubber{}}
	answer := func(code int, body string) error {
		return gophercloud.ErrUnexpectedResponseCode{Method: "POST", URL: "http://cloud/x", Actual: code, Body: []byte(body)}
	}
	for _, test := range []struct {
		name string
		err  error
		kind fault.Kind
		want string
	}{
		{"neutron", answer(409, `{"NeutronError": {"type": "IpAddressInUse", "message": "in use", "detail": ""}}`), fault.OfInput, "do it: the answer to POST http://cloud/x is 409, in use"},
		{"neutron's quota", answer(409, `{"NeutronError": {"type": "OverQuota", "message": "No more."}}`), fault.OfInput, "do it: the answer to POST http://cloud/x is 409, No more.; remove what is not needed (\"ingot gc\" finds what was left over) or ask for a larger quota"},
		{"nova's quota", answer(403, `{"forbidden": {"code": 403, "message": "Quota exceeded for cores"}}`), fault.OfInput, "larger quota"},
		{"cinder's quota", answer(413, `{"overLimit": {"code": 413, "message": "VolumeLimitExceeded"}}`), fault.OfInput, "larger quota"},
		{"not allowed", answer(403, `{"forbidden": {"code": 403, "message": "Policy does not allow"}}`), fault.OfInput, "403, Policy does not allow"},
		{"HTML", answer(502, "<html><body>Bad\n <b>Gateway</b></body></html>"), fault.OfProvider, "502, Bad Gateway"},
		{"nothing", answer(500, ""), fault.OfProvider, "500, no reason was given"},
		{"much", answer(500, strings.Repeat("ä", 300)), fault.OfProvider, strings.Repeat("ä", 200) + "…"},
		{"no answer", errors.New("connection reset"), fault.OfProvider, "do it: connection reset"},
		{"gave up again", &gophercloud.ErrUnableToReauthenticate{ErrOriginal: answer(401, ""), ErrReauth: answer(401, `{"error": {"message": "disabled"}}`)}, fault.OfInput, "401, disabled; the credentials"},
	} {
		err := p.wrap("do it", test.err)
		if fault.Of(err) != test.kind || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v", test.name, fault.Of(err), err)
		}
	}
}

// Bodies and descriptions come from outside.
func FuzzTexts(f *testing.F) {
	f.Add(`{"error": {"message": "no"}}`)
	f.Add("made by Ingot; ingot-id=a ingot-server=b")
	f.Add("<html>")
	f.Fuzz(func(t *testing.T, text string) {
		if got := textOf([]byte(text)); len(got) > maxMessage+len("…") {
			t.Errorf("%d bytes of %q", len(got), text)
		}
		kindOf([]byte(text))
		if m, ok := readMark(text); ok && m.text() != text {
			t.Errorf("%q is read as %+v", text, m)
		}
	})
}
