package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"ingot/fault"
)

// scrubber knows what no message may have.
type scrubber struct {
	secrets []string
	token   func() string // nil before the login
}

func (s *scrubber) clean(text string) string {
	secrets := s.secrets
	if s.token != nil && s.token() != "" {
		secrets = append([]string{s.token()}, secrets...)
	}
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, "[secret]")
	}
	return text
}

// failure is what a service has answered, without the SDK's error: that carries
// bodies and headers, and keystone's may quote the request.
type failure struct {
	status int    // of HTTP, 0 when there was no answer
	kind   string // neutron's word: "SecurityGroupRuleExists", "OverQuota"
	text   string
	cause  error // an end of the context, or nil
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.cause }

// wrap makes an error of the SDK one of ours: what was being done, what the service
// says, whose fault it is.
func (p *Provider) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	var known *failure
	if errors.As(err, &known) {
		return err // of a step below, and complete
	}
	f := &failure{text: p.hide.clean(fmt.Sprintf("%s: %s", doing, message(err)))}
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			f.cause = end
		}
	}
	if answer, ok := answerOf(err); ok {
		f.status, f.kind = answer.Actual, kindOf(answer.Body)
	}
	switch {
	case f.cause != nil:
		return f
	case fault.Of(err) == fault.OfInput:
		return fault.Input(f)
	case f.status == http.StatusUnauthorized:
		f.text += "; the credentials are wrong or have expired: look at OS_USERNAME, OS_PROJECT_NAME and their domains, or make a new application credential"
		return fault.Input(f)
	case isQuota(f):
		f.text += "; remove what is not needed (\"ingot gc\" finds what was left over) or ask for a larger quota"
		return fault.Input(f)
	case f.status >= 400 && f.status < 500:
		return fault.Input(f)
	}
	return fault.Provider(f)
}

// answerOf finds an answer in an error. The SDK's error of a login that did not work
// again does not unwrap.
func answerOf(err error) (gophercloud.ErrUnexpectedResponseCode, bool) {
	var again *gophercloud.ErrUnableToReauthenticate
	if errors.As(err, &again) {
		err = again.ErrReauth
	}
	var answer gophercloud.ErrUnexpectedResponseCode
	ok := errors.As(err, &answer)
	return answer, ok
}

// message is what a person needs of an error.
func message(err error) string {
	answer, ok := answerOf(err)
	if !ok {
		return err.Error()
	}
	text := textOf(answer.Body)
	if text == "" {
		text = "no reason was given"
	}
	return fmt.Sprintf("the answer to %s %s is %d, %s", answer.Method, answer.URL, answer.Actual, text)
}

var tags = regexp.MustCompile(`(<[^>]*>|\s)+`)

// maxMessage is how much of a service's words is shown, in bytes.
const maxMessage = 400

// textOf finds the words in an error's body. Each service has its own shape; all
// have a "message" somewhere, or are plain text.
func textOf(body []byte) string {
	var tree any
	text := string(body)
	if json.Unmarshal(body, &tree) == nil {
		text = find(tree, "message", "faultstring")
	}
	text = strings.TrimSpace(tags.ReplaceAllString(text, " "))
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}

func kindOf(body []byte) string {
	var tree any
	if json.Unmarshal(body, &tree) != nil {
		return ""
	}
	return find(tree, "type")
}

// find is the first string under one of these keys.
func find(tree any, keys ...string) string {
	switch node := tree.(type) {
	case map[string]any:
		for _, key := range keys {
			if text, ok := node[key].(string); ok {
				return text
			}
		}
		for _, child := range node {
			if text := find(child, keys...); text != "" {
				return text
			}
		}
	case []any:
		for _, child := range node {
			if text := find(child, keys...); text != "" {
				return text
			}
		}
	}
	return ""
}

var quotaWords = regexp.MustCompile(`(?i)quota|over ?limit|exceeds? (the )?allowed`)

// isQuota reports whether something is not allowed because there is much already.
// Neutron says so with 409, nova with 403, glance and cinder with 413.
func isQuota(f *failure) bool {
	switch f.status {
	case http.StatusForbidden, http.StatusConflict, http.StatusRequestEntityTooLarge:
		return f.kind == "OverQuota" || f.status == http.StatusRequestEntityTooLarge || quotaWords.MatchString(f.text)
	}
	return false
}

// status is that of the answer in an error, 0 when there is none.
func status(err error) int {
	var f *failure
	if errors.As(err, &f) {
		return f.status
	}
	if answer, ok := answerOf(err); ok {
		return answer.Actual
	}
	return 0
}

func isNotFound(err error) bool { return status(err) == http.StatusNotFound }

// isUnsure reports whether what was asked for may have been done in spite of the
// error.
func isUnsure(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	code := status(err)
	return code == 0 || code >= 500
}

func isNotInCatalog(err error) bool {
	var endpoint *gophercloud.ErrEndpointNotFound
	var service *gophercloud.ErrServiceNotFound
	var endpointValue gophercloud.ErrEndpointNotFound
	return errors.As(err, &endpoint) || errors.As(err, &service) || errors.As(err, &endpointValue)
}
