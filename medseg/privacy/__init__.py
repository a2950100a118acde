"""medseg.privacy"""
