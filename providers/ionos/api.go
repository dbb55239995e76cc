package ionos

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// newClient makes the SDK's client, without its retries and without its debug modes,
// which print requests, credentials included.
func newClient(o Options) *sdk.APIClient {
	user, password, token := o.User, o.Password.Reveal(), o.Token.Reveal()
	if token != "" {
		user, password = "", ""
	}
	config := sdk.NewConfiguration(user, password, token, o.Endpoint)
	config.Debug, config.LogLevel, config.Logger = false, sdk.Off, silent{}
	// One try: Weather knows more of patience. The SDK sleeps for at most 2 s whatever
	// Retry-After says.
	config.MaxRetries, config.WaitTime, config.MaxWaitTime = 1, 0, 0
	config.UserAgent = "ingot"
	client := sdk.NewAPIClient(config)
	// Set last: IONOS_PINNED_CERT in the environment puts a transport of the SDK's own
	// here, which checks no certificate but for its fingerprint.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12}
	config.HTTPClient = &http.Client{
		// 423 says that the data center is busy with another request.
		Transport: contracted{&providers.Weather{Base: transport, Busy: []int{http.StatusLocked}, Say: o.Say}, o.Contract},
		// The API redirects nowhere; credentials would go along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client
}

// contracted says which contract requests are for, when there are several. The SDK
// would take the number from the environment.
type contracted struct {
	http.RoundTripper
	number string
}

func (c contracted) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if r.Header.Del(contractHeader); c.number != "" {
		r.Header.Set(contractHeader, c.number)
	}
	return c.RoundTripper.RoundTrip(r)
}

const contractHeader = "X-Contract-Number"

// silent is a logger for the SDK.
type silent struct{}

func (silent) Printf(string, ...any) {}

// apiError is an answer that says no.
type apiError struct {
	what     string // was tried
	status   int
	messages string
}

func (e *apiError) Error() string {
	text := fmt.Sprintf("%s: IONOS answers %d %s", e.what, e.status, http.StatusText(e.status))
	if e.messages != "" {
		text += ": " + e.messages
	}
	switch e.status {
	case http.StatusUnauthorized:
		text += "; check the user name and password or the token, which may have expired"
	case http.StatusForbidden:
		text += "; the user lacks the right, or two-factor authentication wants a token"
	}
	return text
}

// lostError is a request without an answer: it may have been carried out.
type lostError struct {
	what string
	err  error
}

func (e *lostError) Error() string { return fmt.Sprintf("%s: %v", e.what, e.err) }
func (e *lostError) Unwrap() error { return e.err }

// checkAnswer makes an error of the SDK's what it means, without its bodies.
func checkAnswer(what string, response *sdk.APIResponse, err error) error {
	if err == nil {
		return nil
	}
	var answer sdk.GenericOpenAPIError
	if !errors.As(err, &answer) {
		if errors.Is(err, context.Canceled) || fault.Of(err) != fault.Unknown {
			return fmt.Errorf("%s: %w", what, err)
		}
		return fault.Provider(&lostError{what, err})
	}
	e := &apiError{what: what, status: answer.StatusCode(), messages: messages(answer.Body())}
	switch {
	case e.status < 300:
		return fault.Provider(fmt.Errorf("%s: IONOS answers with something that is not its JSON", what))
	case e.status >= 500 && e.status != http.StatusNotImplemented && response.Method == http.MethodPost:
		return fault.Provider(&lostError{what, e})
	case e.status >= 500 || e.status == http.StatusTooManyRequests || e.status == http.StatusLocked:
		return fault.Provider(e)
	}
	return fault.Input(e)
}

// maxMessage is how much of what a service says is repeated, in bytes.
const maxMessage = 500

// messages are those of an answer's error, or nothing.
func messages(body []byte) string {
	var e struct {
		Messages []struct{ ErrorCode, Message string }
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	var list []string
	for _, m := range e.Messages {
		list = append(list, strings.TrimSpace(m.Message))
	}
	text := strings.Join(list, "; ")
	return text[:min(len(text), maxMessage)]
}

// isStatus reports whether an answer had one of these statuses.
func isStatus(err error, statuses ...int) bool {
	var e *apiError
	if !errors.As(err, &e) {
		return false
	}
	for _, s := range statuses {
		if e.status == s {
			return true
		}
	}
	return false
}

func isGone(err error) bool { return isStatus(err, http.StatusNotFound) }

func isLost(err error) bool {
	var e *lostError
	return errors.As(err, &e) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// busyWords are in the messages of answers 422 that mean "later". IONOS answers 422 to
// what is wrong and also to what cannot be done while a data center is provisioned; its
// codes are not documented.
var busyWords = []string{"busy", "locked", "in progress", "being provisioned", "provisioning", "try again"}

func isBusy(err error) bool {
	var e *apiError
	if !errors.As(err, &e) || e.status != http.StatusUnprocessableEntity && e.status != http.StatusConflict {
		return false
	}
	text := strings.ToLower(e.messages)
	for _, w := range busyWords {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// submit sends a request that changes something and waits until IONOS has carried it
// out.
func (p *Provider) submit(ctx context.Context, what string, send func(context.Context) (*sdk.APIResponse, error)) error {
	ctx, cancel := context.WithTimeout(ctx, p.pace.request)
	defer cancel()
	for {
		response, err := send(ctx)
		err = checkAnswer(what, response, err)
		if err == nil {
			return p.await(ctx, what, response)
		}
		if !isBusy(err) {
			return err
		}
		if rest(ctx, p.pace.poll) != nil {
			return err
		}
	}
}

// repeat is submit for what does the same when it is done twice: it is sent again when
// the answer was lost.
func (p *Provider) repeat(ctx context.Context, what string, send func(context.Context) (*sdk.APIResponse, error)) error {
	err := p.submit(ctx, what, send)
	for n := 1; isLost(err) && n < p.pace.looks; n++ {
		if e := rest(ctx, p.pace.poll); e != nil {
			return e
		}
		err = p.submit(ctx, what, send)
	}
	return err
}

// await follows a request until it is done. An answer without a Location was done at
// once.
func (p *Provider) await(ctx context.Context, what string, response *sdk.APIResponse) error {
	location := response.Header.Get("Location")
	if location == "" {
		return nil
	}
	// The SDK puts the endpoint's host in place of that of the Location.
	if _, err := url.Parse(location); err != nil || !strings.Contains(location, "/requests/") {
		return fault.Provider(fmt.Errorf("%s: IONOS does not say where its request can be followed", what))
	}
	unknown := 0
	for {
		status, response, err := p.api.GetRequestStatus(ctx, location)
		switch {
		case err != nil || response.StatusCode != http.StatusOK:
			// It may be asked for before all of IONOS knows of it.
			if unknown++; response.SafeStatusCode() != http.StatusNotFound || unknown > p.pace.looks {
				return p.lostTrack(what, response, err)
			}
		case status.Metadata == nil || status.Metadata.Status == nil:
			return fault.Provider(fmt.Errorf("%s: IONOS does not say how its request goes", what))
		case *status.Metadata.Status == sdk.RequestStatusDone:
			return nil
		case *status.Metadata.Status == sdk.RequestStatusFailed:
			text := deref(status.Metadata.Message)
			return fault.Provider(fmt.Errorf("%s: IONOS could not: %s", what, text[:min(len(text), maxMessage)]))
		}
		if err := rest(ctx, p.pace.poll); err != nil {
			return giveUp(what, err)
		}
	}
}

// lostTrack is for a request that was accepted and cannot be followed.
func (p *Provider) lostTrack(what string, response *sdk.APIResponse, err error) error {
	what += ": follow the request"
	if err != nil {
		return checkAnswer(what, response, err)
	}
	e := &apiError{what: what, status: response.SafeStatusCode(), messages: messages(response.Payload)}
	if e.status == http.StatusUnauthorized || e.status == http.StatusForbidden {
		return fault.Input(e)
	}
	return fault.Provider(e)
}

// giveUp is for what was waited for too long, or was interrupted.
func giveUp(what string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.Provider(fmt.Errorf("%s: IONOS has not done it in time: %w", what, err))
	}
	return fmt.Errorf("%s: %w", what, err)
}

// look asks again and again whether something is there whose request had no answer:
// what was made may not be in the first lists after it.
func (p *Provider) look(ctx context.Context, there func() (bool, error)) (bool, error) {
	for n := 1; ; n++ {
		found, err := there()
		if err != nil || found || n == p.pace.looks {
			return found, err
		}
		if err := rest(ctx, p.pace.poll); err != nil {
			return false, err
		}
	}
}

func rest(ctx context.Context, pause time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}
