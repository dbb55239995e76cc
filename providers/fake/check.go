package fake

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// document is a provider's, ready to check with.
type document struct{ router routers.Router }

// route is a request's place in the document.
type route struct {
	input *openapi3filter.RequestValidationInput
}

// load reads a document and has it describe a service at base.
func load(file, base string, closed bool) (*document, error) {
	doc, err := openapi3.NewLoader().LoadFromFile(file)
	if err != nil {
		return nil, err
	}
	doc.Servers = openapi3.Servers{{URL: base}}
	doc.Security = renamed(doc.Security)
	for _, item := range doc.Paths.Map() {
		item.Servers = nil
		for _, operation := range item.Operations() {
			operation.Servers = nil
			upperRanges(operation.Responses)
			if operation.Security != nil {
				*operation.Security = renamed(*operation.Security)
			}
		}
	}
	if doc.Components != nil {
		for name, scheme := range doc.Components.SecuritySchemes {
			delete(doc.Components.SecuritySchemes, name)
			doc.Components.SecuritySchemes[schemeName(name)] = scheme
		}
	}
	if closed {
		closeObjects(doc)
	}
	// Examples and defaults are for people; those of published documents are often
	// wrong, and nothing here uses them.
	router, err := legacy.NewRouter(doc, openapi3.DisableExamplesValidation(), openapi3.DisableSchemaDefaultsValidation())
	if err != nil {
		return nil, err
	}
	return &document{router}, nil
}

// upperRanges makes "4xx" what the standard calls it (OpenAPI 3.0.3, Responses Object:
// "the range should be represented by the uppercase wildcard character X"): Hetzner's
// document has small ones.
func upperRanges(responses *openapi3.Responses) {
	for key, value := range responses.Map() {
		if upper := strings.ToUpper(key); upper != key && strings.HasSuffix(key, "xx") {
			responses.Delete(key)
			responses.Set(upper, value)
		}
	}
}

// schemeName makes a name of a security scheme one that the standard allows (OpenAPI
// 3.0.3, Components Object): IONOS' document has blanks in them.
func schemeName(name string) string { return strings.ReplaceAll(name, " ", "_") }

func renamed(requirements openapi3.SecurityRequirements) openapi3.SecurityRequirements {
	for i, r := range requirements {
		other := openapi3.SecurityRequirement{}
		for name, scopes := range r {
			other[schemeName(name)] = scopes
		}
		requirements[i] = other
	}
	return requirements
}

// options of the checks. Defaults are not put into requests: the handler shall see
// what was sent.
func options() *openapi3filter.Options {
	return &openapi3filter.Options{
		MultiError:                        true,
		IncludeResponseStatus:             true,
		RejectWhenRequestBodyNotSpecified: true,
		SkipSettingDefaults:               true,
		AuthenticationFunc: func(_ context.Context, input *openapi3filter.AuthenticationInput) error {
			if input.RequestValidationInput.Request.Header.Get("Authorization") == "" {
				return errors.New("it has no Authorization header")
			}
			return nil
		},
	}
}

// checkRequest holds a request to the document. It returns nil when there is no
// place for it.
func (s *Service) checkRequest(request Request, r *http.Request) *route {
	checked := r.Clone(r.Context())
	checked.Body = io.NopCloser(bytes.NewReader(request.Body))
	// Without scheme and host it is the path alone that is looked for.
	checked.URL = &url.URL{Path: s.opts.Base + request.Path, RawQuery: request.Query}
	found, parameters, err := s.document.router.FindRoute(checked)
	if err != nil {
		s.report(request, "the request", err)
		return nil
	}
	input := &openapi3filter.RequestValidationInput{Request: checked, PathParams: parameters, Route: found, Options: options()}
	if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
		s.report(request, "the request", err)
	}
	s.checkQuery(request, found)
	return &route{input}
}

// checkQuery wants parameters that the document knows: unknown ones are ignored by
// services, and the list that comes back is another than was asked for.
func (s *Service) checkQuery(request Request, found *routers.Route) {
	query, err := url.ParseQuery(request.Query)
	if err != nil {
		s.report(request, "the query", err)
	}
	for name := range query {
		if found.Operation.Parameters.GetByInAndName("query", name) == nil && found.PathItem.Parameters.GetByInAndName("query", name) == nil {
			s.report(request, "the query", fmt.Errorf("there is no parameter %q", name))
		}
	}
}

// checkAnswer holds an answer to the document.
func (s *Service) checkAnswer(request Request, r *route, w *httptest.ResponseRecorder) {
	if r == nil {
		return
	}
	input := &openapi3filter.ResponseValidationInput{RequestValidationInput: r.input, Status: w.Code, Header: w.Header(), Options: options()}
	input.SetBodyBytes(w.Body.Bytes())
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		s.report(request, fmt.Sprintf("the answer %d", w.Code), err)
	}
}

// single are the violations that an error is made of.
func single(err error) []error {
	var list []error
	switch e := err.(type) { // not errors.As: the outermost decides
	case openapi3.MultiError:
		for _, one := range e {
			list = append(list, single(one)...)
		}
		return list
	case *openapi3filter.RequestError:
		if inner, ok := e.Err.(openapi3.MultiError); ok {
			return single(inner)
		}
	case *openapi3filter.ResponseError:
		if inner, ok := e.Err.(openapi3.MultiError); ok {
			return single(inner)
		}
	}
	return []error{err}
}

// seek looks for planted secrets.
func (s *Service) seek(request Request, where, text string) {
	for _, secret := range s.opts.Secrets {
		for _, form := range forms(secret) {
			if strings.Contains(text, form) {
				s.t.Errorf("%s %s: a planted secret is in %s", request.Method, request.Path, where)
				break
			}
		}
	}
}

// forms are the spellings of a secret that are looked for. In base64 it has three,
// by where it begins in a group of three bytes.
func forms(secret string) []string {
	list := []string{secret, hex.EncodeToString([]byte(secret)), url.QueryEscape(secret)}
	for skip := range min(3, len(secret)) {
		whole := secret[skip:]
		whole = whole[:len(whole)/3*3]
		if len(whole) >= 6 {
			list = append(list, base64.RawStdEncoding.EncodeToString([]byte(whole)))
		}
	}
	return list
}
