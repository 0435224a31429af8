"""Drives the Stripe stand-in with Stripe's own client, so that it answers as the client expects of Stripe."""

import base64
import json
import os
import time
import unittest
import urllib.error
import urllib.request

import stripe

URL = os.environ["STRIPE_URL"]
KEY = os.environ["STRIPE_SECRET_KEY"]
PRICE = os.environ["STRIPE_PRO_PRICE_ID"]
SECRET = os.environ["STRIPE_WEBHOOK_SECRET"]
# The version that the product speaks.
VERSION = "2026-09-30.endive"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

# The members of the objects as Stripe documents them, with the type of each that is not null.
SHAPES = {
    "billing_portal.session": """
        configuration:str created:int customer:str customer_account flow:dict id:str livemode:bool locale object:str
        on_behalf_of return_url:str url:str
    """,
    "checkout.session": """
        adaptive_pricing:dict after_expiration:dict allow_promotion_codes amount_subtotal amount_total
        automatic_tax:dict billing_address_collection cancel_url:str client_reference_id client_secret
        collected_information:dict consent:dict consent_collection:dict created:int currency
        currency_conversion:dict custom_fields:list custom_text:dict customer customer_account customer_creation
        customer_details:dict customer_email discounts expires_at:int id:str integration_identifier invoice
        invoice_creation:dict livemode:bool locale managed_payments:dict metadata:dict mode:str object:str
        origin_context payment_intent:str payment_link payment_method_collection
        payment_method_configuration_details:dict payment_method_options:dict payment_method_types:list
        payment_status:str permissions:dict phone_number_collection:dict recovered_from
        saved_payment_method_options:dict setup_intent shipping_address_collection:dict shipping_cost:dict
        shipping_options:list status:str submit_type subscription success_url:str total_details:dict ui_mode url:str
        wallet_options:dict
    """,
    "customer": """
        address:dict balance:int created:int currency:str default_source delinquent:bool description discount:dict
        email id:str invoice_prefix:str invoice_settings:dict livemode:bool metadata:dict name
        next_invoice_sequence:int object:str phone preferred_locales:list shipping:dict tax_exempt:str test_clock
    """,
    "invoice": """
        account_country:str account_name account_tax_ids amount_due:int amount_overpaid:int amount_paid:int
        amount_remaining:int amount_shipping:int application attempt_count:int attempted:bool auto_advance:bool
        automatic_tax:dict automatically_finalizes_at billing_reason:str collection_method:str created:int
        currency:str custom_fields customer:str customer_account customer_address:dict customer_email customer_name
        customer_phone customer_shipping:dict customer_tax_exempt:str customer_tax_ids:list default_payment_method
        default_source default_tax_rates:list description discounts:list due_date:int effective_at:int
        ending_balance footer from_invoice:dict hosted_invoice_url id:str invoice_pdf issuer:dict
        last_finalization_error:dict latest_revision lines:dict livemode:bool metadata:dict next_payment_attempt:int
        number object:str on_behalf_of parent:dict payment_settings:dict period_end:int period_start:int
        post_payment_credit_notes_amount:int pre_payment_credit_notes_amount:int receipt_number rendering:dict
        shipping_cost:dict shipping_details:dict starting_balance:int statement_descriptor status:str
        status_transitions:dict subtotal:int subtotal_excluding_tax:int test_clock total:int
        total_discount_amounts:list total_excluding_tax:int total_pretax_credit_amounts total_taxes
        webhooks_delivered_at:int
    """,
    "price": """
        active:bool billing_scheme:str created:int currency:str custom_unit_amount:dict id:str livemode:bool
        lookup_key metadata:dict nickname object:str product:str recurring:dict tax_behavior:str tiers_mode
        transform_quantity:dict type:str unit_amount:int unit_amount_decimal:Decimal
    """,
    "subscription": """
        application application_fee_percent automatic_tax:dict billing_cycle_anchor:int
        billing_cycle_anchor_config:dict billing_mode:dict billing_schedules:list billing_thresholds:dict
        cancel_at:int cancel_at_period_end:bool canceled_at:int cancellation_details:dict collection_method:str
        created:int currency:str customer:str customer_account days_until_due default_payment_method default_source
        default_tax_rates:list description discounts:list ended_at:int id:str invoice_settings:dict items:dict
        latest_invoice livemode:bool managed_payments:dict metadata:dict next_pending_invoice_item_invoice:int
        object:str on_behalf_of pause_collection:dict payment_settings:dict pending_invoice_item_interval:dict
        pending_setup_intent pending_update:dict schedule start_date:int status:str test_clock transfer_data:dict
        trial_end:int trial_settings:dict trial_start:int
    """,
    "subscription_item": """
        billing_thresholds:dict created:int current_period_end:int current_period_start:int discounts:list id:str
        metadata:dict object:str plan:dict price:dict quantity:int subscription:str tax_rates:list
    """,
}


def request(method, path, body=None, headers=()):
    sent = urllib.request.Request(URL + path, body, dict(headers), method=method)
    with DIRECT.open(sent) as response:
        return response.read()


def client(key=KEY):
    return stripe.StripeClient(key, stripe_version=VERSION, base_addresses={"api": URL}, max_network_retries=0)


class Case(unittest.TestCase):
    def setUp(self):
        request("DELETE", "/_script")
        self.api = client().v1

    def customer(self, **params):
        return self.api.customers.create(params)

    def session(self, customer, **params):
        return self.api.checkout.sessions.create({
            "mode": "subscription", "customer": customer.id, "line_items": [{"price": PRICE, "quantity": 1}],
            "success_url": URL + "/returned", **params,
        })

    def subscription(self, customer):
        return self.api.subscriptions.create({"customer": customer.id, "items": [{"price": PRICE}]})

    def events(self, kind, of):
        """The events of a kind about an object, newest first."""
        events = self.api.events.list({"type": kind, "limit": 100}).auto_paging_iter()
        return [event for event in events if event.data.object.id == of]

    def deliveries(self, kind, of):
        """What came to the webhook, each a signature and a body."""
        with DIRECT.open(os.environ["WEBHOOK"]) as response:
            for delivery in json.loads(response.read()):
                event = json.loads(delivery["body"])
                if event["type"] == kind and event["data"]["object"]["id"] == of:
                    yield delivery

    def refused(self, kind, status, code, param, act):
        with self.assertRaises(kind) as caught:
            act()
        error = caught.exception
        self.assertEqual((error.http_status, error.code, getattr(error, "param", None)), (status, code, param))
        self.assertRegex(error.request_id, "^req_")
        return error


class Objects(Case):
    def has_shape(self, made, name):
        made = made.to_dict()
        for member in SHAPES[name].split():
            member, _, kind = member.partition(":")
            with self.subTest(object=name, member=member):
                self.assertIn(member, made)
                if kind and made[member] is not None:
                    self.assertEqual(type(made[member]).__name__, kind)
        for member in ("id", "object", "created"):
            self.assertIsNotNone(made[member])

    def test_objects_have_the_members_and_types_of_stripes_examples(self):
        customer = self.customer(name="Ada")
        session = self.session(customer)
        subscription = self.subscription(customer)
        invoice = self.api.invoices.retrieve(subscription.latest_invoice)
        portal = self.api.billing_portal.sessions.create({"customer": customer.id})
        item = subscription["items"].data[0]
        for made, name in ((customer, "customer"), (session, "checkout.session"), (subscription, "subscription"),
                           (invoice, "invoice"), (portal, "billing_portal.session"), (item, "subscription_item"),
                           (item.price, "price")):
            self.has_shape(made, name)

    def test_a_customer_is_made_read_listed_and_deleted(self):
        email = f"ada{time.time_ns()}@example.com"
        customer = self.customer(name="Ada", email=email, metadata={"user_id": "1"})
        read = self.api.customers.retrieve(customer.id)
        self.assertEqual((read.name, read.metadata["user_id"]), ("Ada", "1"))
        self.assertEqual([found.id for found in self.api.customers.list({"email": email})], [customer.id])
        self.assertTrue(self.api.customers.delete(customer.id).deleted)
        self.assertTrue(self.api.customers.retrieve(customer.id).deleted)
        self.assertEqual(self.events("customer.deleted", customer.id)[0].data.object.id, customer.id)

    def test_a_session_that_is_paid_makes_a_subscription_with_its_first_invoice(self):
        customer = self.customer()
        session = self.session(customer, client_reference_id="1", subscription_data={"metadata": {"user_id": "1"}})
        self.assertEqual((session.status, session.payment_status), ("open", "unpaid"))
        request("POST", f"/_pay/{session.id}", b"")
        session = self.api.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]})
        self.assertEqual((session.status, session.payment_status), ("complete", "paid"))
        self.assertEqual(session.subscription.metadata["user_id"], "1")
        invoice = self.api.invoices.retrieve(session.invoice)
        self.assertEqual((invoice.status, invoice.billing_reason), ("paid", "subscription_create"))
        self.assertEqual(invoice.parent.subscription_details.subscription, session.subscription.id)
        request("POST", f"/_subscriptions/{session.subscription.id}", b'{"status": "past_due"}',
                {"content-type": "application/json"})
        late = self.api.subscriptions.retrieve(session.subscription.id, {"expand": ["latest_invoice"]})
        self.assertEqual(late.latest_invoice.billing_reason, "subscription_cycle")

    def test_a_session_that_expired_cannot_expire_again(self):
        session = self.session(self.customer())
        self.assertEqual(self.api.checkout.sessions.expire(session.id).status, "expired")
        self.refused(stripe.InvalidRequestError, 400, None, None, lambda: self.api.checkout.sessions.expire(session.id))

    def test_an_update_says_how_its_members_were_before(self):
        subscription = self.subscription(self.customer())
        self.api.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
        event = self.events("customer.subscription.updated", subscription.id)[0]
        previous = event.to_dict()["data"]["previous_attributes"]
        self.assertIs(previous["cancel_at_period_end"], False)
        self.assertEqual(sorted(previous), ["cancel_at", "cancel_at_period_end", "canceled_at"])

    def test_a_subscription_ends_once(self):
        subscription = self.subscription(self.customer())
        self.assertEqual(self.api.subscriptions.cancel(subscription.id).status, "canceled")
        self.refused(stripe.InvalidRequestError, 404, "resource_missing", "id",
                     lambda: self.api.subscriptions.cancel(subscription.id))
        update = {"cancel_at_period_end": True}
        self.refused(stripe.InvalidRequestError, 400, None, None,
                     lambda: self.api.subscriptions.update(subscription.id, update))
        event = self.events("customer.subscription.deleted", subscription.id)[0]
        self.assertFalse("previous_attributes" in event.data)

    def test_subscriptions_are_filtered_by_status(self):
        customer = self.customer()
        first, second = self.subscription(customer), self.subscription(customer)
        self.api.subscriptions.cancel(first.id)
        for status, wanted in ((None, [second.id]), ("all", [second.id, first.id]), ("canceled", [first.id])):
            params = {"customer": customer.id} | ({"status": status} if status else {})
            self.assertEqual([found.id for found in self.api.subscriptions.list(params)], wanted)


class Events(Case):
    def test_lists_have_pages_in_both_directions_and_times(self):
        start = int(time.time())
        email = f"page{time.time_ns()}@example.com"
        made = [self.customer(email=email).id for _ in range(5)][::-1]
        listed = lambda **params: self.api.customers.list({"email": email, **params})
        self.assertEqual([found.id for found in listed(limit=2).auto_paging_iter()], made)
        page = listed(limit=2, starting_after=made[1])
        self.assertEqual(([found.id for found in page], page.has_more), (made[2:4], True))
        page = listed(limit=2, ending_before=made[3])
        self.assertEqual(([found.id for found in page], page.has_more), (made[1:3], True))
        self.assertEqual(len(listed(created={"gte": start}).data), 5)
        self.assertEqual(len(listed(created={"lt": start}).data), 0)

    def test_events_are_filtered_by_one_type_several_types_and_a_pattern(self):
        subscription = self.subscription(self.customer())
        self.api.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
        verbs = lambda **params: [event.type.rpartition(".")[2]
                                  for event in self.api.events.list({"limit": 100, **params})
                                  if event.data.object.id == subscription.id]
        names = ["customer.subscription.created", "customer.subscription.updated"]
        self.assertEqual(verbs(type=names[0]), ["created"])
        self.assertEqual(verbs(types=names), ["updated", "created"])
        self.assertEqual(verbs(type="customer.subscription.*"), ["updated", "created"])
        self.assertEqual(verbs(type="invoice.*"), [])

    def test_an_event_names_the_call_that_it_comes_from(self):
        params = {"customer": self.customer().id, "items": [{"price": PRICE}]}
        key = f"cause-{time.time_ns()}"
        subscription = self.api.subscriptions.create(params, {"idempotency_key": key})
        event = self.events("customer.subscription.created", subscription.id)[0]
        self.assertEqual(event.request.id, subscription.last_response.request_id)
        self.assertEqual(event.request.idempotency_key, key)
        self.assertEqual(self.api.events.retrieve(event.id).type, event.type)

    def test_deliveries_are_signed_as_the_client_verifies(self):
        session = self.session(self.customer())
        request("POST", f"/_pay/{session.id}", b"")
        (delivery,) = self.deliveries("checkout.session.completed", session.id)
        event = stripe.Webhook.construct_event(delivery["body"], delivery["signature"], SECRET)
        self.assertEqual((event.data.object.id, event.api_version), (session.id, VERSION))
        for body, secret in ((delivery["body"] + " ", SECRET), (delivery["body"], "whsec_other")):
            with self.assertRaises(stripe.SignatureVerificationError):
                stripe.Webhook.construct_event(body, delivery["signature"], secret)


class Calls(Case):
    def test_every_call_has_an_id_of_its_own(self):
        ids = {self.customer().last_response.request_id for _ in range(3)}
        self.assertEqual(len(ids), 3)
        self.assertTrue(all(id.startswith("req_") for id in ids))

    def test_an_idempotency_key_repeats_the_response_and_refuses_another_call(self):
        options = {"idempotency_key": f"key-{time.time_ns()}"}
        first = self.api.customers.create({"name": "Ada"}, options)
        again = self.api.customers.create({"name": "Ada"}, options)
        self.assertEqual(first.id, again.id)
        self.assertEqual(again.last_response.headers["Idempotent-Replayed"], "true")
        self.refused(stripe.IdempotencyError, 400, None, None,
                     lambda: self.api.customers.create({"name": "Eve"}, options))

    def test_an_invalid_call_does_not_use_up_its_idempotency_key(self):
        options = {"idempotency_key": f"invalid-{time.time_ns()}"}
        self.refused(stripe.InvalidRequestError, 400, "parameter_unknown", "colour",
                     lambda: self.api.customers.create({"colour": "red"}, options))
        self.assertEqual(self.api.customers.create({"name": "Ada"}, options).name, "Ada")

    def test_the_key_may_come_as_bearer_or_as_basic(self):
        token = base64.b64encode(f"{KEY}:".encode()).decode()
        body = request("GET", "/v1/customers?limit=1", headers={"authorization": f"Basic {token}"})
        self.assertEqual(json.loads(body)["object"], "list")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            request("GET", "/v1/customers")
        self.assertEqual(caught.exception.code, 401)
        self.api = client("pk_test_1").v1
        self.refused(stripe.AuthenticationError, 401, None, None, self.api.customers.list)

    def test_what_stripe_refuses_is_refused_with_its_parameter(self):
        customer = self.customer()
        missing, unknown, invalid = "parameter_missing", "parameter_unknown", "resource_missing"
        line = {"price": PRICE, "quantity": 1}
        cases = [
            (404, invalid, "id", lambda: self.api.customers.retrieve("cus_none")),
            (400, invalid, "customer", lambda: self.api.subscriptions.list({"customer": "cus_none"})),
            (400, unknown, "colour", lambda: self.api.customers.create({"colour": "red"})),
            (400, missing, "customer", lambda: self.api.billing_portal.sessions.create({})),
            (400, missing, "success_url", lambda: self.session(customer, success_url="")),
            (400, "url_invalid", "success_url", lambda: self.session(customer, success_url="nowhere")),
            (400, missing, "line_items[0][quantity]", lambda: self.session(customer, line_items=[{"price": PRICE}])),
            (400, None, "line_items[0][quantity]",
             lambda: self.session(customer, line_items=[line | {"quantity": "many"}])),
            (400, invalid, "line_items[0][price]",
             lambda: self.session(customer, line_items=[line | {"price": "price_none"}])),
            (400, None, "limit", lambda: self.api.events.list({"limit": 101})),
            (400, invalid, "starting_after", lambda: self.api.events.list({"starting_after": "evt_none"})),
        ]
        for status, code, param, act in cases:
            with self.subTest(param=param, code=code):
                self.refused(stripe.InvalidRequestError, status, code, param, act)

    def test_an_error_of_stripes_own_is_an_api_error(self):
        script = json.dumps([{"match": "GET /v1/prices", "status": 500}]).encode()
        request("POST", "/_script", script, {"content-type": "application/json"})
        with self.assertRaises(stripe.APIError) as caught:
            self.api.prices.retrieve(PRICE)
        self.assertEqual(caught.exception.http_status, 500)
        self.assertEqual(self.api.prices.retrieve(PRICE).unit_amount, 1000)


if __name__ == "__main__":
    unittest.main()
