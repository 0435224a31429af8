"""Drives the Gemini stand-in with Google's own client, so that it answers as the client expects of Gemini."""

import json
import os
import unittest
import urllib.request

from google import genai
from google.genai import errors, types

URL = os.environ["GEMINI_URL"]
KEY = os.environ["GEMINI_API_KEY"]
MODEL = "gemini-3.8-flash"
CONTROLS = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def control(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(URL + path, data, headers, method=method)
    with CONTROLS.open(request) as response:
        return json.loads(response.read() or b"null")


def script(*outcomes):
    control("POST", "/_script", list(outcomes))


def client(key=KEY, **options):
    once = types.HttpRetryOptions(attempts=1)
    # The version that the product asks; the client's default is v1.
    options = types.HttpOptions(base_url=URL, api_version="v1beta", timeout=30_000, retry_options=once, **options)
    return genai.Client(api_key=key, http_options=options)


class Case(unittest.TestCase):
    def setUp(self):
        control("DELETE", "/_script")
        control("DELETE", "/_calls")
        self.gemini = client()

    def generate(self, contents="hello", config=None, model=MODEL):
        return self.gemini.models.generate_content(model=model, contents=contents, config=config)

    def stream(self, contents="hello", config=None):
        return self.gemini.models.generate_content_stream(model=MODEL, contents=contents, config=config)

    def refused(self, kind, code, status, act):
        with self.assertRaises(kind) as caught:
            act()
        self.assertEqual((caught.exception.code, caught.exception.status), (code, status))
        return caught.exception

    def details(self, error):
        details = error.details["error"].get("details", [])
        return {detail["@type"].rpartition(".")[2]: detail for detail in details}


class Generate(Case):
    def test_a_whole_reply_has_text_usage_and_a_finish_reason(self):
        reply = self.generate()
        self.assertEqual(reply.text, "echo: hello")
        self.assertEqual(reply.candidates[0].finish_reason, types.FinishReason.STOP)
        self.assertEqual(reply.candidates[0].safety_ratings[0].probability, types.HarmProbability.NEGLIGIBLE)
        self.assertEqual((reply.model_version, reply.response_id), (MODEL, "stand-in"))
        usage = reply.usage_metadata
        self.assertEqual(usage.prompt_token_count + usage.candidates_token_count, usage.total_token_count)

    def test_a_stream_of_many_small_chunks_is_the_text(self):
        text = "one two three, größer und größer. " * 20
        script({"text": text, "pieces": 40})
        chunks = list(self.stream())
        self.assertEqual(len(chunks), 40)
        self.assertEqual("".join(chunk.text for chunk in chunks), text)
        finishes = [chunk.candidates[0].finish_reason for chunk in chunks]
        self.assertEqual(finishes, [None] * 39 + [types.FinishReason.STOP])

    def test_a_chat_sends_its_history(self):
        for stream in (False, True):
            control("DELETE", "/_calls")
            chat = self.gemini.chats.create(model=MODEL)
            for text in ("first", "second"):
                if stream:
                    reply = "".join(chunk.text for chunk in chat.send_message_stream(text))
                else:
                    reply = chat.send_message(text).text
                self.assertEqual(reply, f"echo: {text}")
            contents = control("GET", "/_calls")[-1]["contents"]
            self.assertEqual([turn["role"] for turn in contents][:2], ["user", "model"])
            said = "".join(part["text"] for turn in contents for part in turn["parts"])
            self.assertEqual(said, "firstecho: firstsecond")

    def test_the_whole_configuration_of_a_text_is_accepted(self):
        config = types.GenerateContentConfig(
            system_instruction="Be brief.", temperature=0.5, top_p=0.9, top_k=40, candidate_count=1, seed=1,
            max_output_tokens=8192, stop_sequences=["END"], presence_penalty=0.1, frequency_penalty=0.1,
            response_mime_type="application/json", response_json_schema={"type": "object"},
            thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level=types.ThinkingLevel.LOW),
            safety_settings=[types.SafetySetting(
                category=types.HarmCategory.HARM_CATEGORY_HARASSMENT,
                threshold=types.HarmBlockThreshold.BLOCK_ONLY_HIGH)])
        self.assertEqual(self.generate(config=config).text, "echo: hello")
        call = control("GET", "/_calls")[-1]
        self.assertEqual(call["systemInstruction"]["parts"], [{"text": "Be brief."}])
        # The client spells these in snake_case, and the others in camelCase.
        self.assertEqual(call["generationConfig"]["thinkingConfig"],
                         {"include_thoughts": True, "thinking_level": "LOW"})

    def test_thoughts_are_apart_from_the_text_and_their_signature_may_be_sent_back(self):
        script({"thoughts": "A greeting.", "text": "Hello!"})
        chunks = list(self.stream())
        parts = [part for chunk in chunks for part in chunk.parts or []]
        self.assertEqual("".join(part.text for part in parts if part.thought), "A greeting.")
        self.assertEqual("".join(part.text for part in parts if not part.thought), "Hello!")
        self.assertEqual(parts[-1].thought_signature, b"stand-in")
        self.assertGreater(chunks[-1].usage_metadata.thoughts_token_count, 0)
        history = [types.UserContent("hello"), types.ModelContent(parts), types.UserContent("again")]
        self.assertEqual(self.generate(history).text, "echo: again")

    def test_a_reply_may_end_without_content_or_without_text(self):
        script({"bare_end": True}, {"text": ""}, {"finish": "MAX_TOKENS", "text": "", "bare_end": True})
        *_, last = list(self.stream())
        self.assertIsNone(last.candidates[0].content)
        empty = self.generate()
        self.assertIsNone(empty.text)
        self.assertEqual(empty.candidates[0].finish_reason, types.FinishReason.STOP)
        cut = self.generate()
        self.assertEqual(cut.candidates[0].finish_reason, types.FinishReason.MAX_TOKENS)
        self.assertIsNone(cut.candidates[0].content)

    def test_a_blocked_prompt_and_a_blocked_reply_say_why(self):
        script({"block": "PROHIBITED_CONTENT"}, {"finish": "SAFETY", "text": "", "bare_end": True})
        blocked = self.generate()
        self.assertIsNone(blocked.candidates)
        self.assertEqual(blocked.prompt_feedback.block_reason, types.BlockedReason.PROHIBITED_CONTENT)
        refused = self.generate()
        self.assertEqual(refused.candidates[0].finish_reason, types.FinishReason.SAFETY)
        self.assertTrue(refused.candidates[0].safety_ratings[0].blocked)

    def test_fields_may_be_spelled_as_in_the_protocol_buffers_and_the_key_be_in_the_query(self):
        body = {"contents": {"parts": {"text": "hello"}}, "generation_config": {"max_output_tokens": 10}}
        reply = control("POST", f"/v1beta/models/{MODEL}:generateContent?key={KEY}", body)
        self.assertEqual(reply["candidates"][0]["content"]["role"], "model")


class Models(Case):
    def test_tokens_are_counted(self):
        counted = self.gemini.models.count_tokens(model=MODEL, contents=["hello", "world"])
        self.assertGreater(counted.total_tokens, 0)

    def test_models_are_listed_over_pages_and_read_one_by_one(self):
        pager = self.gemini.models.list(config={"page_size": 2})
        self.assertEqual(len(pager.page), 2)
        names = [model.name for model in pager]
        self.assertGreater(len(names), 2)
        self.assertEqual(len(set(names)), len(names))
        model = self.gemini.models.get(model=MODEL)
        self.assertIn(model.name, names)
        self.assertEqual(model.output_token_limit, 65_536)
        self.assertIn("generateContent", model.supported_actions)


class Refusals(Case):
    def test_an_unknown_model_is_not_found(self):
        for act in (lambda: self.generate(model="gemini-none"),
                    lambda: self.gemini.models.get(model="gemini-none"),
                    lambda: self.gemini.models.count_tokens(model="gemini-none", contents="hello")):
            error = self.refused(errors.ClientError, 404, "NOT_FOUND", act)
            self.assertIn("models/gemini-none is not found for API version v1beta", error.message)

    def test_a_wrong_key_is_an_invalid_argument(self):
        self.gemini = client("wrong")
        error = self.refused(errors.ClientError, 400, "INVALID_ARGUMENT", self.generate)
        self.assertEqual(self.details(error)["ErrorInfo"]["reason"], "API_KEY_INVALID")

    def test_unknown_fields_are_named_with_their_place(self):
        self.gemini = client(extra_body={"stream": True, "generationConfig": {"maxTokens": 5}})
        error = self.refused(errors.ClientError, 400, "INVALID_ARGUMENT", self.generate)
        self.assertIn('Unknown name "stream": Cannot find field.', error.message)
        self.assertIn("Unknown name \"maxTokens\" at 'generation_config': Cannot find field.", error.message)
        self.assertEqual(len(self.details(error)["BadRequest"]["fieldViolations"]), 2)

    def test_values_of_a_wrong_kind_are_named_with_their_place(self):
        cases = (
            ({"systemInstruction": [{}]}, '"systemInstruction": Proto field is not repeating, cannot start list.'),
            ({"generationConfig": {"maxOutputTokens": "many"}},
             "Invalid value at 'generation_config.max_output_tokens' (TYPE_INT32), \"many\""),
            ({"generationConfig": {"thinkingConfig": {"thinkingLevel": "SOME"}}},
             '.ThinkingConfig.ThinkingLevel), "SOME"'),
        )
        for body, said in cases:
            with self.subTest(said=said):
                self.gemini = client(extra_body=body)
                error = self.refused(errors.ClientError, 400, "INVALID_ARGUMENT", self.generate)
                self.assertIn(said, error.message)

    def test_a_role_that_gemini_does_not_know_is_refused(self):
        contents = [types.Content(role="assistant", parts=[types.Part(text="hello")])]
        self.refused(errors.ClientError, 400, "INVALID_ARGUMENT", lambda: self.generate(contents))

    def test_every_class_of_error_is_recognised_before_a_stream_and_within(self):
        statuses = {
            401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 409: "ABORTED", 429: "RESOURCE_EXHAUSTED",
            499: "CANCELLED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
        }
        for code, status in statuses.items():
            kind = errors.ClientError if code < 500 else errors.ServerError
            for outcome in ("status", "error_in_stream", "unframed_error"):
                with self.subTest(code=code, outcome=outcome):
                    script({outcome: code})
                    self.refused(kind, code, status, lambda: list(self.stream()))
            with self.subTest(code=code, outcome="whole"):
                script({"status": code})
                self.refused(kind, code, status, self.generate)

    def test_text_before_an_unframed_error_arrives(self):
        script({"text": "half a reply", "unframed_error": 503, "retry_delay": "7s"})
        stream = self.stream()
        self.assertEqual(next(stream).text, "half a")
        error = self.refused(errors.ServerError, 503, "UNAVAILABLE", lambda: next(stream))
        self.assertEqual(self.details(error)["RetryInfo"]["retryDelay"], "7s")

    def test_a_quota_of_the_day_names_itself_and_its_delay_counts_down(self):
        quota = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
        delays = ["2s", "1s", "0s"]
        script(*({"status": 429, "quota_id": quota, "retry_delay": delay} for delay in delays))
        for delay in delays:
            error = self.refused(errors.ClientError, 429, "RESOURCE_EXHAUSTED", self.generate)
            details = self.details(error)
            self.assertEqual(details["QuotaFailure"]["violations"][0]["quotaId"], quota)
            self.assertEqual(details["RetryInfo"]["retryDelay"], delay)

    def test_a_stream_that_is_cut_has_no_finish_reason(self):
        script({"cut": True})
        self.assertEqual([chunk.candidates[0].finish_reason for chunk in self.stream()], [None])


if __name__ == "__main__":
    unittest.main()
